package records

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"

	"github.com/opencontainers/go-digest"
)

// A record's row has a seal in its JSON, as the last member, so that a bit that flips in meta.db, or another record's
// row, is no hit. Who knows nothing of it reads the rest. Rows of an older strata have none.

const (
	sealBegins = `,"seal":"`
	sealEnds   = `"}`
	sealDigits = 32
)

// withSeal adds the seal of a record under a key to its JSON, which is an object with members.
func withSeal(key digest.Digest, data []byte) []byte {
	body := bytes.TrimSuffix(data, []byte("}"))
	return append(append(append(bytes.Clone(body), sealBegins...), sealOf(key, body)...), sealEnds...)
}

// AsSealed says that the record's data is as PutRecord kept it under the key, or has no seal.
func (r *Record) AsSealed() bool { return asSealed(r.Key, r.Data) }

func asSealed(key digest.Digest, data []byte) bool {
	at := len(data) - len(sealBegins) - sealDigits - len(sealEnds)
	if at < 0 || !bytes.HasPrefix(data[at:], []byte(sealBegins)) {
		return true
	}
	return bytes.Equal(data[at+len(sealBegins):len(data)-len(sealEnds)], sealOf(key, data[:at]))
}

func sealOf(key digest.Digest, body []byte) []byte {
	h := sha256.New()
	h.Write([]byte("strata seal of record 1\n" + key + "\n"))
	h.Write(body)
	return hex.AppendEncode(nil, h.Sum(nil))[:sealDigits]
}
