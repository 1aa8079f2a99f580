package solver

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer"
)

// TestChainIDs: what a state has of its chain is the same whether it goes on from the state before or not.
func TestChainIDs(t *testing.T) {
	state := newState(nil, "", image.Grow(&image.Config{}))
	for range 300 {
		c := image.Clone(state.Config)
		for range rand.IntN(3) {
			d := layer.EmptyDiffID
			if rand.IntN(3) > 0 {
				d = digest.FromString(fmt.Sprint(rand.IntN(5)))
			}
			c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, d)
		}
		if rand.IntN(10) == 0 {
			c.RootFS.DiffIDs = c.RootFS.DiffIDs[rand.IntN(len(c.RootFS.DiffIDs)+1):]
		}
		next := newState(nil, "", image.Grow(c))
		next.follow(state)
		if got, want := next.chain(), (chainIDs{image.ChainID(next.Chain()), digest.Digest(cache.ChainPart(next.Chain()))}); got != want {
			t.Fatalf("%v: %v, want %v", next.Chain(), got, want)
		}
		state = next
	}
}
