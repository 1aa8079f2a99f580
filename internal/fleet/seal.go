package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/nkeys"
	"github.com/opencontainers/go-digest"
)

// Secrets go through the queue sealed: encrypted, and bound to who sent them, by NATS's curve keys (X25519, XSalsa20 and
// Poly1305), so that only the worker with the private key can read them. A build seals for those workers only whose
// public keys it was told to trust.

// Identity is the key of a worker.
type Identity struct{ pair nkeys.KeyPair }

// OpenIdentity reads a worker's private key from a file, which only its owner can read; it is made if it is not there.
func OpenIdentity(path string) (*Identity, error) {
	seed, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		seed, err = newSeed(path)
	}
	if err != nil {
		return nil, fmt.Errorf("the worker's key: %w", err)
	}
	pair, err := nkeys.FromCurveSeed(seed)
	if err != nil {
		return nil, fmt.Errorf("the worker's key %s: %w; remove the file for a new one", path, err)
	}
	return &Identity{pair}, nil
}

// newSeed makes the file of a private key.
func newSeed(path string) ([]byte, error) {
	pair, err := nkeys.CreateCurveKeys()
	if err != nil {
		return nil, err
	}
	seed, err := pair.Seed()
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return os.ReadFile(path) // another worker made it
	}
	if err != nil {
		return nil, err
	}
	if _, err = f.Write(seed); err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		os.Remove(path)
		return nil, err
	}
	return seed, nil
}

// Public is the key that others seal for.
func (i *Identity) Public() (string, error) { return i.pair.PublicKey() }

// confidences are what of a step nobody may see but the worker that runs it.
type confidences struct {
	Secrets  map[string][]byte `json:"secrets,omitempty"`
	ProxyEnv []string          `json:"proxyEnv,omitempty"`
}

// sealedBox is what seal makes: who sealed it, and the box.
type sealedBox struct {
	From string `json:"from"`
	Box  []byte `json:"box"`
}

// boxed is what is in a box. The digest of the order makes it serve for that order only: nobody can take the box out of the
// queue and have the worker run something else with it.
type boxed struct {
	confidences
	Order digest.Digest `json:"order"`
}

// seal encrypts what the step of an order is given for a public key. The key pair that it is sealed with is made for it alone.
func seal(c confidences, order []byte, public string) ([]byte, error) {
	data, err := json.Marshal(boxed{c, digest.FromBytes(order)})
	if err != nil {
		return nil, err
	}
	once, err := nkeys.CreateCurveKeys()
	if err != nil {
		return nil, err
	}
	defer once.Wipe()
	from, err := once.PublicKey()
	if err != nil {
		return nil, err
	}
	box, err := once.Seal(data, public)
	if err != nil {
		return nil, fmt.Errorf("sealing secrets for the key %.20q: %w", public, err)
	}
	return json.Marshal(sealedBox{From: from, Box: box})
}

// open decrypts what was sealed for a worker and an order.
func (i *Identity) open(sealed, order []byte) (confidences, error) {
	var b sealedBox
	if err := json.Unmarshal(sealed, &b); err != nil {
		return confidences{}, errors.New("the step's secrets cannot be read")
	}
	data, err := i.pair.Open(b.Box, b.From)
	if err != nil {
		return confidences{}, errors.New("the step's secrets are not sealed for this worker")
	}
	var c boxed
	if err := json.Unmarshal(data, &c); err != nil || c.Order != digest.FromBytes(order) {
		return confidences{}, errors.New("the step's secrets are those of another step")
	}
	return c.confidences, nil
}

// IsKey says whether a text is a public key of a worker.
func IsKey(text string) bool { return nkeys.IsValidPublicCurveKey(text) }
