// Package anatomy takes an image apart: the rows of its history, its layers with their tables of contents and files,
// and the image that it is based on, wherever the image rests: in the store, in an archive, or in a registry, of which
// no more is fetched than what is asked for.
package anatomy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/look/history"
	"github.com/strata-build/strata/internal/look/timeline"
)

// Image is an image, or the state that a step or a history row stands for. It is used by one goroutine at a time.
type Image struct {
	// Text is how the person named it.
	Text   string
	ID     digest.Digest
	Config *image.Config
	// Rows is the history, oldest first. The last row is what Text names.
	Rows []Row

	layers []part
	close  func() error
}

// Row is one row of an image's history.
type Row struct {
	history.Row
	// Layer is the index of the row's layer, counted from the lowest, which is 0; -1 for a row that only changes the
	// configuration.
	Layer int
	// Base are the names of an image in the store that ends with this row. Of the last row these are the image's own.
	Base []string
}

// part is a layer of an image.
type part interface {
	// known says that each can be called without fetching or reading anything first.
	known() bool
	// here says that look moves nothing over a network.
	here() bool
	// look sees to it that the table of contents is known.
	look(ctx context.Context) error
	each(fn func(*layer.Entry) error) error
	open(ctx context.Context, e *layer.Entry) (io.ReadCloser, error)
	// read reads several files, as store.Layer.ReadFiles.
	read(ctx context.Context, entries []*layer.Entry, fn func(*layer.Entry, io.Reader) error) error
	// blob is the layer as it is moved, compressed as a rule: its digest, "" if that is not known, and its size in
	// bytes; -1 where it never was.
	blob() (digest.Digest, int64)
}

// Close closes what the image was read from.
func (im *Image) Close() error {
	if im.close == nil {
		return nil
	}
	return im.close()
}

// Layers is the number of layers.
func (im *Image) Layers() int { return len(im.layers) }

// RowOf returns the index of the row that a layer belongs to.
func (im *Image) RowOf(layer int) int {
	for i, r := range im.Rows {
		if r.Layer == layer {
			return i
		}
	}
	return -1
}

// BaseRow returns the index of the row at which the nearest image that this one is based on ends, -1 if none is known.
func (im *Image) BaseRow() int {
	for i := len(im.Rows) - 2; i >= 0; i-- {
		if len(im.Rows[i].Base) > 0 {
			return i
		}
	}
	return -1
}

// Known says that a layer's table of contents is on this machine. It may be asked while another goroutine looks.
func (im *Image) Known(layer int) bool { return im.layers[layer].known() }

// Blob is a layer as it is moved, compressed as a rule: its digest, "" if that is not known, and its size in bytes; -1
// where it never was.
func (im *Image) Blob(layer int) (digest.Digest, int64) { return im.layers[layer].blob() }

// Look sees to it that the tables of contents of layers are known, and reads or fetches these for it; several at
// once. Without an argument it looks at all.
func (im *Image) Look(ctx context.Context, layers ...int) error {
	if len(layers) == 0 {
		for i := range im.layers {
			layers = append(layers, i)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(2, runtime.NumCPU()))
	for _, i := range layers {
		if p := im.layers[i]; !p.known() {
			g.Go(func() error { return p.look(ctx) })
		}
	}
	return g.Wait()
}

// LookHere is Look at those layers for which nothing has to be fetched.
func (im *Image) LookHere(ctx context.Context) error {
	var layers []int
	for i, p := range im.layers {
		if p.here() {
			layers = append(layers, i)
		}
	}
	if len(layers) == 0 {
		return nil
	}
	return im.Look(ctx, layers...)
}

// Each calls fn for all entries of a layer's table of contents, in canonical order, after looking at the layer if need
// be. An entry is valid during its call only.
func (im *Image) Each(ctx context.Context, layer int, fn func(*layer.Entry) error) error {
	p := im.layers[layer]
	if err := p.look(ctx); err != nil {
		return err
	}
	return p.each(fn)
}

// Timeline makes the timeline of all layers.
func (im *Image) Timeline(ctx context.Context) (*timeline.Timeline, error) {
	if err := im.Look(ctx); err != nil {
		return nil, err
	}
	t := timeline.New()
	for i, p := range im.layers {
		if err := t.Add(p.each); err != nil {
			return nil, fmt.Errorf("reading layer %d: %w", i+1, err)
		}
	}
	return t, nil
}

// KnownTimeline makes the timeline of the lowest layers whose tables of contents are known: what a layer changed can be told as
// long as all below it are.
func (im *Image) KnownTimeline(ctx context.Context) (*timeline.Timeline, error) {
	t := timeline.New()
	for i, p := range im.layers {
		if !p.known() {
			break
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := t.Add(p.each); err != nil {
			return nil, fmt.Errorf("reading layer %d: %w", i+1, err)
		}
	}
	return t, nil
}

// Entry returns a path's entry in one layer; fs.ErrNotExist where the layer has none.
func (im *Image) Entry(ctx context.Context, index int, path string) (*layer.Entry, error) {
	var found *layer.Entry
	err := im.Each(ctx, index, func(e *layer.Entry) error {
		if e.Path == path {
			kept := *e
			found = &kept
			return fs.SkipAll
		}
		return nil
	})
	if found != nil {
		return found, nil
	}
	if err == nil {
		err = &fs.PathError{Op: "lookup", Path: "/" + path, Err: fs.ErrNotExist}
	}
	return nil, err
}

// Open reads the contents of a regular file that a layer has, by its path; hard links lead to their target. A file
// whose contents do not have the digest that the table of contents says ends with an error in the place of io.EOF.
func (im *Image) Open(ctx context.Context, index int, path string) (io.ReadCloser, error) {
	e, err := im.Entry(ctx, index, path)
	if err == nil && e.Type == layer.Hardlink {
		e, err = im.Entry(ctx, index, e.Link)
	}
	if err != nil {
		return nil, err
	}
	if e.Type != layer.File {
		return nil, fmt.Errorf("/%s is not a regular file", path)
	}
	r, err := im.layers[index].open(ctx, e)
	if err != nil {
		return nil, err
	}
	return verified(r, e), nil
}

// Read reads the regular files of a layer that are wanted, each once, in the order that takes the least; a layer that is
// compressed is decompressed once. fn gets all paths that a file has in the layer: one, or those of hard links. What it reads is
// checked as with Open, but for parts of it that it reads as an io.ReaderAt.
func (im *Image) Read(ctx context.Context, index int, wanted func(*layer.Entry) bool, fn func(paths []string, e *layer.Entry, r io.Reader) error) error {
	paths := map[string][]string{} // by the path whose contents they share
	var entries []*layer.Entry
	links := map[string]bool{} // targets that are not wanted themselves, perhaps
	err := im.Each(ctx, index, func(e *layer.Entry) error {
		switch {
		case e.Type != layer.File && e.Type != layer.Hardlink || !wanted(e):
		case e.Type == layer.Hardlink:
			links[e.Link] = true
			paths[e.Link] = append(paths[e.Link], e.Path)
		default:
			kept := *e
			entries = append(entries, &kept)
			paths[e.Path] = append(paths[e.Path], e.Path)
		}
		return nil
	})
	if err != nil || len(paths) == 0 {
		return err
	}
	for _, e := range entries {
		delete(links, e.Path)
	}
	if len(links) > 0 {
		err := im.Each(ctx, index, func(e *layer.Entry) error {
			if links[e.Path] && e.Type == layer.File {
				kept := *e
				entries = append(entries, &kept)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return im.layers[index].read(ctx, entries, func(e *layer.Entry, r io.Reader) error {
		return fn(paths[e.Path], e, verified(unclosed{r}, e))
	})
}

// unclosed is a reader that somebody else closes.
type unclosed struct{ io.Reader }

// Close implements io.Closer.
func (unclosed) Close() error { return nil }

// ReadAt implements io.ReaderAt, where the reader does.
func (u unclosed) ReadAt(p []byte, offset int64) (int, error) {
	if at, ok := u.Reader.(io.ReaderAt); ok {
		return at.ReadAt(p, offset)
	}
	return 0, errors.ErrUnsupported
}
