package transfer

import (
	"errors"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// seenFor is for how long a repository is expected to have what it had. A registry that lacks a blob refuses the
// manifest, as most do; the time is short for those that do not look (distribution-spec, "Pushing Manifests": they
// may).
const seenFor = 10 * time.Minute

// atOnce is how large a blob may be, in bytes, that is sent as quickly as it is asked about: in 20 ms over 25 Mbit/s.
const atOnce = 64 << 10

// configIn is how the store remembers, of an image's uppermost layer, which of the configs with it a repository has.
// It is forgotten with the layer.
func configIn(ref reference.Named) string { return "config in " + ref.Name() }

// noteConfig notes that a repository has the config of an image with these layers.
func (m *Mover) noteConfig(diffIDs []digest.Digest, ref reference.Named, config digest.Digest) error {
	if len(diffIDs) == 0 {
		return nil
	}
	now, err := time.Now().MarshalText()
	if err != nil {
		return err
	}
	return m.Store.PutDerived(diffIDs[len(diffIDs)-1], configIn(ref), store.Derived{Digest: config, Data: now})
}

// expectConfig says what to expect of the config of an image with these layers: where it is not known to be in the
// repository, it was most likely made for this push.
func (p *push) expectConfig(config digest.Digest) (registry.Expectation, error) {
	if len(p.layers) == 0 {
		return registry.ExpectAbsent, nil
	}
	noted, err := p.Store.Derived(p.layers[len(p.layers)-1].DiffID, configIn(p.ref))
	if errors.Is(err, store.ErrNotFound) || err == nil && noted.Digest != config {
		return registry.ExpectAbsent, nil
	}
	var at time.Time
	if err != nil || at.UnmarshalText(noted.Data) != nil || time.Since(at) > seenFor {
		return registry.ExpectNothing, err
	}
	return registry.ExpectThere, nil
}

// expect says what to expect of a blob of the layer at index i.
func (p *push) expect(i int, d digest.Digest, size int64) registry.Expectation {
	for _, b := range p.known[i] {
		if b.Digest == d && time.Since(b.Noted) < seenFor && p.place(b) == inRepository {
			return registry.ExpectThere
		}
	}
	if size <= atOnce && len(p.repositories(p.known[i], d)) == 0 {
		return registry.ExpectAbsent
	}
	return registry.ExpectNothing
}
