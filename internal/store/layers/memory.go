package layers

import (
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
)

// memory is what a process remembers of the layers it uses.
type memory struct {
	mu    sync.Mutex
	tocs  map[digest.Digest]*tocEntry
	locks map[digest.Digest]*sync.Mutex
	notes []string // what a person is told at the end
}

type tocEntry struct {
	once sync.Once
	toc  *layer.TOC
	err  error
}

func newMemory() *memory {
	return &memory{tocs: map[digest.Digest]*tocEntry{}, locks: map[digest.Digest]*sync.Mutex{}}
}

// lock keeps this process's other goroutines from making the same layer at the same time. Another
// process may: both end with the same layer, and the later rename finds it there.
func (m *memory) lock(diffID digest.Digest) (unlock func()) {
	m.mu.Lock()
	l := m.locks[diffID]
	if l == nil {
		l = &sync.Mutex{}
		m.locks[diffID] = l
	}
	m.mu.Unlock()
	l.Lock()
	return l.Unlock
}

// toc returns a table of contents that was read before, or reads it.
func (m *memory) toc(diffID digest.Digest, read func() (*layer.TOC, error)) (*layer.TOC, error) {
	m.mu.Lock()
	e := m.tocs[diffID]
	if e == nil {
		e = &tocEntry{}
		m.tocs[diffID] = e
	}
	m.mu.Unlock()
	e.once.Do(func() { e.toc, e.err = read() })
	return e.toc, e.err
}

// forget drops a table of contents that was read before.
func (m *memory) forget(diffID digest.Digest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.tocs, diffID)
}

// note keeps a line for the end.
func (m *memory) note(line string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.notes = append(m.notes, line)
}
