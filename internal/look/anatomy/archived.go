package anatomy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/look/history"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer/archive"
)

// archived is a layer of an archive. Its table of contents is kept in the store, so that it is read once.
type archived struct {
	store *store.Store
	layer archive.Layer
}

func (p *archived) known() bool { return p.store.HasTOC(p.layer.DiffID) }

func (p *archived) here() bool { return true }

// tar reads the layer's uncompressed tar.
func (p *archived) tar() (io.ReadCloser, io.Closer, error) {
	f, err := p.layer.Open()
	if err != nil {
		return nil, nil, err
	}
	z, err := layer.Decompress(bufio.NewReaderSize(f, 1<<18), p.store.Limits())
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return z, f, nil
}

func (p *archived) look(ctx context.Context) error {
	if p.known() {
		return nil
	}
	z, f, err := p.tar()
	if err != nil {
		return err
	}
	defer f.Close()
	defer z.Close()
	if p.layer.Desc.Digest == p.layer.DiffID {
		return p.store.ScanChecked(ctx, p.layer.DiffID, z) // not compressed, and the archive checks what it gives
	}
	return p.store.Scan(ctx, p.layer.DiffID, z)
}

func (p *archived) each(fn func(*layer.Entry) error) error {
	return p.store.EachEntry(p.layer.DiffID, fn)
}

// open prefers a layer that the store has as well: its table of contents is the one that each reads, and has no offsets
// in the archive's tar.
func (p *archived) open(ctx context.Context, e *layer.Entry) (io.ReadCloser, error) {
	if l, err := p.store.Layer(p.layer.DiffID); err == nil && l.Present() {
		return l.OpenFile(ctx, e)
	}
	z, f, err := p.tar()
	if err != nil {
		return nil, err
	}
	contents, err := layer.OpenIn(ctx, z, e)
	if err != nil {
		z.Close()
		f.Close()
		return nil, fmt.Errorf("reading /%s: %w", e.Path, err)
	}
	return &member{contents, z, f}, nil
}

// read prefers the store as open does.
func (p *archived) read(ctx context.Context, entries []*layer.Entry, fn func(*layer.Entry, io.Reader) error) error {
	if l, err := p.store.Layer(p.layer.DiffID); err == nil && l.Present() {
		return l.ReadFiles(ctx, entries, fn)
	}
	z, f, err := p.tar()
	if err != nil {
		return err
	}
	defer f.Close()
	defer z.Close()
	return layer.ReadIn(ctx, z, entries, fn)
}

func (p *archived) blob() (digest.Digest, int64) { return p.layer.Desc.Digest, p.layer.Desc.Size }

// member is a file in a layer in an archive.
type member struct {
	io.Reader
	z, f io.Closer
}

func (m *member) Close() error {
	m.z.Close()
	return m.f.Close()
}

// openArchive opens the image of an archive that text names, or its only one.
func openArchive(s *store.Store, text string) (*Image, error) {
	path := text
	for _, transport := range []string{dockerArchive, ociArchive, ociLayout} {
		if rest, ok := strings.CutPrefix(text, transport); ok {
			path = strings.TrimPrefix(rest, "//")
		}
	}
	name := ""
	if !exists(path) {
		if i := nameAt(path); i > 0 {
			path, name = path[:i], path[i+1:]
		}
	}
	dir, err := s.Temp("archive")
	if err != nil {
		return nil, err
	}
	r, err := archive.Open(path, dir, s.Limits().On(s.Root()))
	if err != nil {
		return nil, fmt.Errorf("opening the archive %s: %w", path, err)
	}
	im, err := ofArchive(s, text, name, r.Images())
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	im.close = r.Close
	return im, nil
}

// nameAt is the index of the colon behind the shortest beginning of text that is a path; names of images have colons
// themselves. 0 if none is.
func nameAt(text string) int {
	for i := range len(text) {
		if text[i] == ':' && exists(text[:i]) {
			return i
		}
	}
	return 0
}

func ofArchive(s *store.Store, text, name string, images []archive.Image) (*Image, error) {
	chosen, err := choose(name, images)
	if err != nil {
		return nil, err
	}
	parsed, err := image.Parse(chosen.Config)
	if err != nil {
		return nil, err
	}
	rows, err := history.RowsOf(chosen.Config)
	if err != nil {
		return nil, err
	}
	im := &Image{Text: text, ID: digest.FromBytes(chosen.Config), Config: parsed}
	for _, l := range chosen.Layers {
		im.layers = append(im.layers, &archived{s, l})
	}
	return im, im.setRows(s, rows)
}

// choose finds an image by one of its names, or by its tag alone; the only one needs none.
func choose(name string, images []archive.Image) (*archive.Image, error) {
	var names []string
	for i, im := range images {
		for _, n := range im.Names {
			if name != "" && (n == name || strings.HasSuffix(n, "/"+name) || strings.HasSuffix(n, ":"+name)) {
				return &images[i], nil
			}
		}
		names = append(names, im.Names...)
	}
	if name == "" && len(images) == 1 {
		return &images[0], nil
	}
	slices.Sort(names)
	switch {
	case len(images) == 0:
		return nil, errors.New("it holds no image")
	case name == "":
		return nil, fmt.Errorf("it holds %d images; add a colon and one of their names: %s", len(images), strings.Join(names, ", "))
	}
	return nil, fmt.Errorf("it holds no image %s; it has %s", name, strings.Join(names, ", "))
}
