// Package inparts serves layers that are elsewhere, of which only what is read of their files is fetched.
package inparts

import (
	"context"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/observed"
	"github.com/strata-build/strata/internal/sandbox/tracefs"
	"github.com/strata-build/strata/internal/store"
)

// parallelLayers is how many layers are opened at a time.
const parallelLayers = 3

// Find opens those layers of a chain of which parts can be fetched, and their tables of contents. Where that cannot
// be, for whatever reason, a layer is not among them, and is fetched whole.
func Find(ctx context.Context, s *store.Store, chain []digest.Digest) map[digest.Digest]*store.LazyLayer {
	if tracefs.Available() != nil {
		return nil
	}
	var g errgroup.Group
	g.SetLimit(parallelLayers)
	opened := make([]*store.LazyLayer, len(chain))
	for i, d := range chain {
		g.Go(func() error {
			opened[i], _ = s.Lazy(ctx, d)
			return nil
		})
	}
	_ = g.Wait() // there are no errors
	found := map[digest.Digest]*store.LazyLayer{}
	for i, lazy := range opened {
		if lazy != nil {
			found[chain[i]] = lazy
		}
	}
	return found
}

// Layer is a layer to be served, in parts if lazy is not nil, with what shows in the stack below at the directories
// that it has no entry for. Its Files are the caller's to close; parts are fetched until ctx ends.
func Layer(ctx context.Context, s *store.Store, below *layer.Stack, diffID digest.Digest, lazy *store.LazyLayer) (l tracefs.Layer, err error) {
	chain, err := s.Chain([]digest.Digest{diffID})
	if err != nil {
		return l, err
	}
	if lazy != nil {
		l.TOC = lazy.Index.TOC
		l.Bring = func(at, size int64) error { return lazy.Need(ctx, at, size) }
	} else if l.TOC, err = chain[0].TOC(ctx); err != nil {
		return l, err
	}
	l.View = observed.NewView(l.TOC)
	var implied []*layer.Entry
	for n := range l.View.Len() {
		if !l.View.Implied(n) {
			continue
		}
		if e, err := below.Lookup(ctx, l.View.Path(n)); err == nil && e != nil && e.Type == layer.Dir {
			d := *e
			d.Path = l.View.Path(n)
			implied = append(implied, &d)
		}
	}
	if l.Below, err = layer.NewTOC(implied); err != nil {
		return l, err
	}
	if lazy != nil {
		l.Files, err = lazy.File()
	} else {
		l.Files, err = chain[0].Files(ctx)
	}
	return l, err
}
