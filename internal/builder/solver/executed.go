package solver

import (
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/cache"
)

// Executed are the keys of the steps that a build ran itself: two stages that begin alike, or the same stage for two
// platforms, run what they share once, with --no-cache too.
type Executed struct {
	mu   sync.Mutex
	keys map[digest.Digest]bool
}

// NewExecuted returns a set that one solver or several share.
func NewExecuted() *Executed { return &Executed{keys: map[digest.Digest]bool{}} }

func (e *Executed) add(key *cache.Key) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.keys[key.Digest()] = true
}

func (e *Executed) has(key *cache.Key) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.keys[key.Digest()]
}
