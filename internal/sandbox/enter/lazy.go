package enter

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/sandbox/inparts"
	"github.com/strata-build/strata/internal/sandbox/tracefs"
	"github.com/strata-build/strata/internal/store"
)

// layers are those of a state, some of which may be served in parts.
type layers struct {
	store  *store.Store
	chain  []digest.Digest
	below  *layer.Stack
	lowers *store.Lowers
	lazy   map[digest.Digest]*store.LazyLayer
}

// open finds the layers of a chain, and fetches what has to be here of them before a command starts.
func open(ctx context.Context, s *store.Store, chain []digest.Digest, lazy bool) (*layers, error) {
	l := &layers{store: s, chain: chain}
	if lazy {
		l.lazy = inparts.Find(ctx, s, chain)
	}
	var err error
	if l.lowers, err = s.Lowers(ctx, chain, l.served()); err != nil {
		return nil, err
	}
	l.below, err = s.Stack(chain)
	return l, err
}

// served says which of the layers are, by their place in the chain.
func (l *layers) served() []bool {
	served := make([]bool, len(l.chain))
	for i, d := range l.chain {
		served[i] = l.lazy[d] != nil
	}
	return served
}

// serve serves those that are in parts, below dir, and returns all as overlayfs takes them, the topmost first. The
// mount is nil where there are none.
func (l *layers) serve(ctx context.Context, dir string) ([]store.Lower, *tracefs.Mount, error) {
	all := l.lowers.All
	if len(l.lazy) == 0 {
		return all, nil, nil
	}
	var parts []tracefs.Layer
	defer func() {
		for _, p := range parts {
			p.Files.Close() // the server has it open
		}
	}()
	for _, d := range l.chain {
		if l.lazy[d] == nil {
			continue
		}
		p, err := inparts.Layer(ctx, l.store, l.below, d, l.lazy[d])
		if err != nil {
			return nil, nil, err
		}
		parts = append(parts, p)
	}
	m, err := tracefs.Serve(filepath.Join(dir, "served"), parts)
	if err != nil {
		return nil, nil, err
	}
	next := len(parts)
	for i := range all {
		if all[i].Dir == "" && all[i].Index == "" {
			next--
			all[i].Dir = m.Dir(next)
		}
	}
	return all, m, nil
}

// tellFailed says that a command was given an error where it read, which is not in the files.
func tellFailed(m *tracefs.Mount, warn func(string)) {
	if m == nil || warn == nil {
		return
	}
	if _, err := m.Asked(); err != nil {
		warn(fmt.Sprintf("a part of the image that the command read could not be had; run it again with --lazy=false: %v", err))
	}
}
