package explorer

import (
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/event"
)

// Fetching is an event.Sink that keeps how far layers are that come from a registry. The zero value knows of none.
type Fetching struct {
	mu    sync.Mutex
	bytes map[digest.Digest]int64 // by blob
}

// Send implements event.Sink.
func (f *Fetching) Send(e event.Event) {
	l, ok := e.(event.Layer)
	if !ok || l.Current <= 0 || l.Status != event.Downloading {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bytes == nil {
		f.bytes = map[digest.Digest]int64{}
	}
	f.bytes[l.ID] = l.Current
}

// of is how many bytes of a blob came so far.
func (f *Fetching) of(blob digest.Digest) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bytes[blob]
}
