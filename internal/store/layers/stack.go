package layers

import (
	"context"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store/disk"
)

// source is a layer as package layer reads it, with the context of the one who asked.
type source struct {
	ctx context.Context
	l   *Layer
	// all, if not nil, brings the whole chain's tables of contents at once: who reads one reads them all.
	all func() error
}

func (s source) TOC() (*layer.TOC, error) {
	if s.all != nil {
		if err := s.all(); err != nil {
			return nil, err
		}
	}
	return s.l.TOC(s.ctx)
}

func (s source) Open(e *layer.Entry) (io.ReadCloser, error) {
	t, err := s.l.TOC(s.ctx)
	if err != nil {
		return nil, err
	}
	if tar := s.l.layers.Path(s.l.DiffID, "tar"); disk.Exists(tar) {
		return layer.TarSource(tar, t).Open(e)
	}
	return layer.TreeSource(s.l.layers.Path(s.l.DiffID, "fs"), t).Open(e)
}

// Stack returns the merged state that a chain of layers gives, bottom first. Layers are read, and fetched,
// when the first path is looked up.
func (ls *Layers) Stack(ctx context.Context, chain []digest.Digest) (*layer.Stack, error) {
	layers, err := ls.Chain(chain)
	if err != nil {
		return nil, err
	}
	all := sync.OnceValue(func() error {
		g, ctx := errgroup.WithContext(ctx)
		for _, l := range layers {
			g.Go(func() error {
				_, err := l.TOC(ctx)
				return err
			})
		}
		return g.Wait()
	})
	sources := make([]layer.Source, len(layers))
	for i, l := range layers {
		sources[i] = source{ctx, l, all}
	}
	return layer.NewStack(sources...), nil
}

// Source gives the layer to those who read its table of contents and its files.
func (l *Layer) Source(ctx context.Context) layer.Source { return source{ctx, l, nil} }

// Trees returns the folders that overlayfs takes as lower layers for a chain, top first as it wants them.
func (ls *Layers) Trees(ctx context.Context, chain []digest.Digest) ([]string, error) {
	layers, err := ls.Chain(chain)
	if err != nil {
		return nil, err
	}
	dirs := make([]string, len(layers))
	g, ctx := errgroup.WithContext(ctx)
	for i, l := range layers {
		g.Go(func() (err error) {
			dirs[len(dirs)-1-i], err = l.Tree(ctx)
			return err
		})
	}
	return dirs, g.Wait()
}
