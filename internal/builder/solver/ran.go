package solver

import (
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/cache"
)

// Ran are the keys of the steps that a build ran itself: two stages that begin alike, or the same stage for two
// platforms, run what they share once, with --no-cache too.
type Ran struct {
	mu   sync.Mutex
	keys map[digest.Digest]bool
}

// NewRan returns a set that one solver or several share.
func NewRan() *Ran { return &Ran{keys: map[digest.Digest]bool{}} }

func (r *Ran) add(key *cache.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys[key.Digest()] = true
}

func (r *Ran) has(key *cache.Key) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.keys[key.Digest()]
}
