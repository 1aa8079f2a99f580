package layers

import (
	"context"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
)

// source is a layer as package layer reads it.
type source struct{ l *Layer }

func (s source) TOC(ctx context.Context) (*layer.TOC, error) {
	if z := s.l.layers.opened(s.l.DiffID); z != nil {
		return z.Index.TOC, nil
	}
	return s.l.TOC(ctx)
}

// Open reads a file out of the tar, which is as it was sealed, or out of the tree, whose file is compared with its
// digest on the way: looking at the seal of a whole tree takes longer than reading a few of its files.
func (s source) Open(ctx context.Context, e *layer.Entry) (io.ReadCloser, error) {
	l := s.l
	if z := l.layers.opened(l.DiffID); z != nil {
		return z.Open(ctx, e)
	}
	for range 2 { // a tar that turns out to be damaged is set aside, and what is left of the layer is read
		t, err := l.TOC(ctx)
		if err != nil {
			return nil, err
		}
		if l.tar().Here() {
			here, err := l.trust(ctx, formTar)
			if err != nil {
				return nil, err
			}
			if here {
				return l.tar().Files(t).Open(ctx, e)
			}
		}
		if !l.tree().Here() {
			continue
		}
		r, err := l.tree().Files(t).Open(ctx, e)
		if err != nil {
			return nil, l.unreadable(ctx, err)
		}
		return layer.Verified(r, e, func(damage *layer.DamageError) error { return l.unreadable(ctx, damage) }), nil
	}
	return nil, l.unreadable(ctx, errors.New("neither its tree nor its tar is here"))
}

// Stack returns the merged state that a chain of layers gives, bottom first. Layers are read, and fetched,
// when the first path is looked up.
func (ls *Layers) Stack(chain []digest.Digest) (*layer.Stack, error) {
	return ls.StackOn(layer.NewStack(), chain)
}

// StackOn is Stack for a chain that lies on another, of which below is the stack.
func (ls *Layers) StackOn(below *layer.Stack, chain []digest.Digest) (*layer.Stack, error) {
	layers, err := ls.Chain(chain)
	if err != nil {
		return nil, err
	}
	sources := make([]layer.Source, len(layers))
	for i, l := range layers {
		sources[i] = source{l}
	}
	return below.With(sources...), nil
}

// Source gives the layer to those who read its table of contents and its files.
func (l *Layer) Source() layer.Source { return source{l} }
