package solver

import (
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/image"
)

// Keys of what is made on layers in parts are others for each table of contents, and hang together as those on whole
// layers do.
func TestKeysApart(t *testing.T) {
	chain := []digest.Digest{digest.FromString("base"), digest.FromString("copied")}
	config := &image.Config{}
	config.RootFS.DiffIDs = chain
	parent := newState(nil, "", image.Grow(config))
	key := func(kind cache.Kind, name cache.PartName, value string) *cache.Key {
		k := &cache.Key{Kind: kind}
		k.Add(name, value)
		return k
	}
	shared := key(cache.KindRun, cache.PartChain, "chain")
	observe := []bool{false, true}
	run := keys{
		key: key(cache.KindRun, cache.PartChain, "id"), shared: shared, weak: cache.Weaken(shared, chain, observe, nil),
		observation: &cache.Observation{Key: shared, Layers: observe},
	}
	below := key(cache.KindBelow, cache.PartChain, "chain")
	copied := keys{key: key(cache.KindCopy, cache.PartDest, "/"), weak: below, observation: &cache.Observation{Key: below}}
	for what, whole := range map[string]keys{"RUN": run, "COPY": copied} {
		one, again, other := whole.apart("one", parent), whole.apart("one", parent), whole.apart("other", parent)
		for name, of := range map[string]func(keys) *cache.Key{
			"key":    func(k keys) *cache.Key { return k.key },
			"shared": func(k keys) *cache.Key { return k.shared },
			"weak":   func(k keys) *cache.Key { return k.weak },
		} {
			if of(whole) == nil {
				if of(one) != nil {
					t.Errorf("%s: %s: a key of none", what, name)
				}
				continue
			}
			w, a, b, c := of(whole).Digest(), of(one).Digest(), of(again).Digest(), of(other).Digest()
			if a != b || a == c || w == a || w == c {
				t.Errorf("%s: %s: %s on whole layers, %s and %s by one table, %s by another", what, name, w, a, b, c)
			}
		}
		if o := one.observation; o.Key != one.shared && o.Key != one.weak {
			t.Errorf("%s: the observation is not of one of its keys", what)
		}
	}
	if got, want := run.apart("one", parent).weak.Digest(), cache.Weaken(run.apart("one", parent).shared, chain, observe, nil).Digest(); got != want {
		t.Errorf("the weak key of a RUN is %s, and not %s of its shared key", got, want)
	}
}
