package layers

import (
	"bytes"
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

// Table implements layer.TableSource.
func (s source) Table(ctx context.Context) (layer.Table, error) {
	if z := s.l.layers.opened(s.l.DiffID); z != nil {
		return z.Index.TOC, nil
	}
	return s.l.Table(ctx)
}

// Open reads a file out of the tar, which is as it was sealed, or out of the tree, whose file is compared with its
// digest on the way: looking at the seal of a whole tree takes longer than reading a few of its files. So does
// verifying a whole tar, of a copy of a store for instance: a small file of it is compared with its digest alone.
func (s source) Open(ctx context.Context, e *layer.Entry) (io.ReadCloser, error) {
	l := s.l
	if z := l.layers.opened(l.DiffID); z != nil {
		r, err := z.Open(ctx, e)
		if err == nil || ctx.Err() != nil {
			return r, err
		}
		z.useless.Store(true) // the layer may be sound though its parts cannot be had
	}
	if l.layers.memory.lazy(l.DiffID) != nil { // it comes whole, or came since; e may have its place in the lazy form
		t, err := l.TOC(ctx)
		if err != nil {
			return nil, err
		}
		if e = t.Lookup(e.Path); e == nil || e.Type != layer.File {
			return nil, l.unreadable(ctx, errors.New("its table of contents is not the one that its parts were read by"))
		}
	}
	for range 2 { // a tar that turns out to be damaged is set aside, and what is left of the layer is read
		if l.tar().Here() && !l.layers.memory.isWritten(l.DiffID) {
			if sealed, err := l.layers.asSealed(l.DiffID, formTar); sealed && err == nil {
				return l.tar().Files(nil).Open(ctx, e) // for which its table of contents need not be read
			}
		}
		t, err := l.TOC(ctx)
		if err != nil {
			return nil, err
		}
		if l.tar().Here() {
			if r := l.openAlone(ctx, t, e); r != nil {
				return r, nil
			}
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
		return l.verified(ctx, r, e), nil
	}
	return nil, l.unreadable(ctx, errors.New("neither its tree nor its tar is here"))
}

// aloneSize is how large a file is at most, in bytes, that openAlone reads.
const aloneSize = 1 << 20

// openAlone reads a file out of a tar that is not as it was sealed, and compares it with its digest before any of it
// is given out. nil is one for which all of the tar has to be seen to: large, or not what the table of contents says.
func (l *Layer) openAlone(ctx context.Context, t *layer.TOC, e *layer.Entry) io.ReadCloser {
	if e.Size > aloneSize || !l.isUnsealedIn(e) {
		return nil
	}
	r, err := l.tar().Files(t).Open(ctx, e)
	if err != nil {
		return nil
	}
	defer r.Close()
	data := make([]byte, e.Size)
	if _, err := io.ReadFull(r, data); err != nil || digest.FromBytes(data) != e.Digest {
		return nil
	}
	return struct {
		*bytes.Reader
		io.Closer
	}{bytes.NewReader(data), io.NopCloser(nil)}
}

// isUnsealedIn says that a file can be read out of a tar that is not as it was sealed, and has a digest to be
// compared with.
func (l *Layer) isUnsealedIn(e *layer.Entry) bool {
	if e.Digest == "" || e.Offset < 0 || !l.tar().Here() {
		return false
	}
	memory := l.layers.memory
	if memory.isWritten(l.DiffID) {
		return true
	}
	if sealed, err := l.layers.asSealed(l.DiffID, formTar); sealed || err != nil {
		return false // trust says more
	}
	memory.setWritten(l.DiffID)
	return true
}

// openForParts is Open for who reads a little of large files. Of a tar that is not as it was sealed a large file is
// compared with its digest before any of it is given out: parts cannot be compared, and the whole tar is mostly far
// larger. Where it differs, the layer is seen to as for any other file.
func (l *Layer) openForParts(ctx context.Context, e *layer.Entry) (io.ReadCloser, error) {
	if e.Size <= aloneSize || l.layers.opened(l.DiffID) != nil || !l.isUnsealedIn(e) {
		return l.Source().Open(ctx, e)
	}
	t, err := l.TOC(ctx)
	if err != nil {
		return nil, err
	}
	r, err := l.tar().Files(t).Open(ctx, e)
	if err != nil {
		return nil, l.unreadable(ctx, err)
	}
	if at, ok := r.(io.ReaderAt); ok {
		sum := e.Digest.Verifier()
		if n, err := io.CopyBuffer(sum, io.NewSectionReader(at, 0, e.Size), make([]byte, 1<<17)); err == nil && n == e.Size && sum.Verified() {
			return r, nil
		}
	}
	r.Close()
	return l.Source().Open(ctx, e)
}

// verified reads a file whose digest is compared on the way.
func (l *Layer) verified(ctx context.Context, r io.ReadCloser, e *layer.Entry) io.ReadCloser {
	return layer.Verified(r, e, func(damage *layer.DamageError) error { return l.unreadable(ctx, damage) })
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
