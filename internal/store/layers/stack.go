package layers

import (
	"context"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/strata-build/strata/internal/layer"
)

// source is a layer as package layer reads it.
type source struct{ l *Layer }

func (s source) TOC(ctx context.Context) (*layer.TOC, error) { return s.l.TOC(ctx) }

func (s source) Open(ctx context.Context, e *layer.Entry) (io.ReadCloser, error) {
	t, err := s.l.TOC(ctx)
	if err != nil {
		return nil, err
	}
	for _, f := range s.l.inPlace() {
		if files := f.Files(t); files != nil && f.Here() {
			return files.Open(ctx, e)
		}
	}
	return nil, &UnavailableError{s.l.DiffID, errors.New("neither its tree nor its tar is here")}
}

// Stack returns the merged state that a chain of layers gives, bottom first. Layers are read, and fetched,
// when the first path is looked up.
func (ls *Layers) Stack(chain []digest.Digest) (*layer.Stack, error) {
	layers, err := ls.Chain(chain)
	if err != nil {
		return nil, err
	}
	sources := make([]layer.Source, len(layers))
	for i, l := range layers {
		sources[i] = source{l}
	}
	return layer.NewStack(sources...), nil
}

// Source gives the layer to those who read its table of contents and its files.
func (l *Layer) Source() layer.Source { return source{l} }

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
