package cache

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer"
)

// ChainPart is the value of PartChain in a shared key: the chainID without empty layers, which the classic engine does
// not make. The key of this machine counts them, so that a step that changes nothing runs each time that it stands in a
// Dockerfile.
func ChainPart(chain []digest.Digest) string {
	kept := slices.DeleteFunc(slices.Clone(chain), func(d digest.Digest) bool { return d == layer.EmptyDiffID })
	return string(image.ChainID(kept))
}

// Rebase gives the key that a step has where it starts from other layers that hold the same files.
func Rebase(s Step, chain []digest.Digest) digest.Digest {
	return (&Key{Kind: s.Record.Kind, Parts: s.Record.Parts}).on(chain).Digest()
}

// on is the key for other layers.
func (k *Key) on(chain []digest.Digest) *Key {
	other := &Key{Kind: k.Kind, Parts: slices.Clone(k.Parts)}
	for i, p := range other.Parts {
		if p.Name == PartChain.String() {
			other.Parts[i].Value = ChainPart(chain)
		}
	}
	return other
}
