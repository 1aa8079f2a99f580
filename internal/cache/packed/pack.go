package packed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/docker/go-units"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/strata-build/strata/internal/layer"
)

// Previous is the document that a place has of a mount, with its list: what is made next names as many of its packs as it can.
type Previous struct {
	doc *Document
	// pieces are the places of contents by their digest: of whole files, and of parts of large ones.
	pieces map[digest.Digest]piece
	// parts are the pieces of large files by the digest of the file.
	parts map[digest.Digest][]piece
}

// ReadPrevious reads the list of a document and asks which of its blobs are still there: a store may remove objects by age.
func ReadPrevious(ctx context.Context, k Keeper, d *Document) (*Previous, error) {
	var gone []bool
	var l *list
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		gone, err = missing(gctx, k, d.Mount, d.Packs)
		return err
	})
	g.Go(func() (err error) {
		l, err = readList(gctx, k, d)
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	p := &Previous{doc: d, pieces: map[digest.Digest]piece{}, parts: map[digest.Digest][]piece{}}
	file := 0
	for _, e := range l.toc.Entries {
		if e.Type != layer.File {
			continue
		}
		p.add(e, l.pieces[file], gone)
		file++
	}
	return p, nil
}

// missing says which blobs of a mount a place does not have.
func missing(ctx context.Context, k Keeper, name Name, blobs []Blob) ([]bool, error) {
	gone := make([]bool, len(blobs))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, b := range blobs {
		g.Go(func() error {
			has, err := k.HasBlob(gctx, name, b)
			gone[i] = !has
			return err
		})
	}
	return gone, g.Wait()
}

// add notes where a file is, unless a part of it is gone.
func (p *Previous) add(e *layer.Entry, pieces []piece, gone []bool) {
	for _, one := range pieces {
		if gone[one.Pack] {
			return
		}
	}
	for _, one := range pieces {
		if one.Digest == "" {
			one.Digest = e.Digest
		}
		p.pieces[one.Digest] = one
	}
	if len(pieces) > 0 && pieces[0].Digest != "" {
		p.parts[e.Digest] = pieces
	}
}

// live says for each pack of the document before how many of its bytes a table of contents has.
func (p *Previous) live(toc *layer.TOC) []int64 {
	live := make([]int64, len(p.doc.Packs))
	seen := map[digest.Digest]bool{}
	count := func(one piece, d digest.Digest) {
		if !seen[d] {
			seen[d] = true
			live[one.Pack] += one.Size
		}
	}
	for _, e := range toc.Entries {
		if e.Type != layer.File {
			continue
		}
		if one, ok := p.pieces[e.Digest]; ok {
			count(one, e.Digest)
		}
		for _, one := range p.parts[e.Digest] {
			count(one, one.Digest)
		}
	}
	return live
}

// Snapshot is what Make has made of a mount.
type Snapshot struct {
	Document Document
	// New are the blobs that the document before does not name.
	New map[digest.Digest]OpenFunc
}

// Size is how many bytes the new blobs have.
func (s *Snapshot) Size() int64 {
	var n int64
	for _, b := range s.Document.Blobs() {
		if s.New[b.Digest] != nil {
			n += b.Size
		}
	}
	return n
}

// Source is what a document is made of.
type Source struct {
	Dir   string
	Limit int64 // how many bytes the files may have, 0 for any number
}

// Errors of Make, for which nothing is sent and nobody need fail.
var (
	// ErrTooLarge says that a mount is larger than what travels.
	ErrTooLarge = errors.New("it is too large")
	// ErrUnfit says that a mount has what no layer can have, such as a name that means a deletion there.
	ErrUnfit = errors.New("what is in it cannot travel")
)

// checkLimit is ErrTooLarge where a mount has more bytes than a limit that is not 0.
func checkLimit(size, limit int64) error {
	if limit > 0 && size > limit {
		return fmt.Errorf("%w: it has %s, and mounts-limit is %s", ErrTooLarge, units.HumanSize(float64(size)), units.HumanSize(float64(limit)))
	}
	return nil
}

// Make makes a document of a directory, which must not change meanwhile. New blobs are files in the folder temp. before is what
// the place has of the mount, nil for nothing. A mount that is over the limit is ErrTooLarge: a part of it might be worse than
// nothing to the program whose cache it is.
func Make(ctx context.Context, name Name, from Source, temp string, before *Previous) (*Snapshot, error) {
	dir := from.Dir
	toc, err := layer.Diff(ctx, dir, nil)
	if err == nil {
		toc, err = toc.Ordinary() // devices and pipes do not travel
	}
	if err != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("%w: %w", ErrUnfit, err)
	}
	if err != nil {
		return nil, err
	}
	if err := checkLimit(toc.Size(), from.Limit); err != nil {
		return nil, err
	}
	m := &maker{temp: temp, source: layer.TreeSource(dir, toc), known: map[digest.Digest]piece{}, parts: map[digest.Digest][]piece{}}
	m.compressing.SetLimit(2) // one beside the reading
	m.reuse(before, toc)
	l := &list{toc: toc, times: times(dir, toc), pieces: [][]piece{}}
	for _, e := range toc.Entries {
		if e.Type != layer.File {
			continue
		}
		pieces, err := m.file(ctx, e)
		if err != nil {
			_ = m.compressing.Wait() // the error that counts is the one before
			return nil, fmt.Errorf("reading the cache mount %s: %w", name.ID, err)
		}
		l.pieces = append(l.pieces, pieces)
	}
	m.flush()
	if err := m.compressing.Wait(); err != nil {
		return nil, fmt.Errorf("reading the cache mount %s: %w", name.ID, err)
	}
	data, blob, err := l.encode()
	if err != nil {
		return nil, err
	}
	if blob.Raw > maxList {
		return nil, fmt.Errorf("%w: its list of %d files has %s, more than the %s that are allowed", ErrTooLarge, len(l.pieces), units.HumanSize(float64(blob.Raw)), units.HumanSize(maxList))
	}
	s := &Snapshot{
		Document: Document{Mount: name, Written: time.Now().UTC(), Files: len(l.pieces), Bytes: toc.Size(), List: blob},
		New:      map[digest.Digest]OpenFunc{},
	}
	for _, p := range m.packs {
		s.Document.Packs = append(s.Document.Packs, p.Blob)
		if p.path != "" {
			s.New[p.Digest] = opener(p.path)
		}
	}
	path := filepath.Join(temp, "list")
	s.New[blob.Digest] = opener(path)
	return s, os.WriteFile(path, data, 0o600)
}

// Same says whether a document has the same files as another.
func (d *Document) Same(other *Document) bool { return d.List.Digest == other.List.Digest }

func opener(path string) OpenFunc {
	return func() (io.ReadCloser, error) { return os.Open(path) }
}

// times are the nanoseconds of the files' times.
func times(dir string, t *layer.TOC) []int32 {
	at := layer.Mounted{Stack: layer.NewStack(), Dirs: []string{dir}}.Capabilities().ModTime
	all := []int32{}
	for _, e := range t.Entries {
		if e.Type == layer.File {
			all = append(all, int32(at(e.Path).Nanosecond()))
		}
	}
	return all
}

// maker makes packs.
type maker struct {
	temp   string
	source layer.Source
	packs  []*pack
	// known are the places of contents in packs, by their digest; parts the pieces of large files by that of the file.
	known map[digest.Digest]piece
	parts map[digest.Digest][]piece

	raw         []byte // of the pack that is being filled, which is the last of packs; nil where there is none
	compressing errgroup.Group
}

// pack is a pack of the document before, or one that is being made.
type pack struct {
	Blob
	path string // of its file, "" for one of before
}

// reuse takes over the packs of before of which at least half is of use.
func (m *maker) reuse(before *Previous, toc *layer.TOC) {
	if before == nil {
		return
	}
	numbers := map[int]int{}
	for i, live := range before.live(toc) {
		if b := before.doc.Packs[i]; live > 0 && live >= b.Raw/2 {
			numbers[i] = len(m.packs)
			m.packs = append(m.packs, &pack{Blob: b})
		}
	}
	renumbered := func(one piece) (piece, bool) {
		n, ok := numbers[one.Pack]
		one.Pack = n
		return one, ok
	}
	for d, one := range before.pieces {
		if one, ok := renumbered(one); ok {
			m.known[d] = one
		}
	}
	for d, parts := range before.parts {
		var all []piece
		for _, one := range parts {
			if one, ok := renumbered(one); ok {
				all = append(all, one)
			}
		}
		if len(all) == len(parts) {
			m.parts[d] = all
		}
	}
}

// file finds the pieces of a file, or makes them.
func (m *maker) file(ctx context.Context, e *layer.Entry) ([]piece, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if e.Size == 0 {
		return []piece{}, nil
	}
	if one, ok := m.known[e.Digest]; ok && e.Size <= wholeFile {
		one.Digest = ""
		return []piece{one}, nil
	}
	if parts, ok := m.parts[e.Digest]; ok {
		return parts, nil
	}
	r, err := m.source.Open(ctx, e)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if e.Size <= wholeFile {
		data := make([]byte, e.Size)
		if _, err := io.ReadFull(r, data); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Path, err)
		}
		one := m.put(e.Digest, data)
		one.Digest = ""
		return []piece{one}, nil
	}
	var parts []piece
	var size int64
	for c := (&cutter{r: r, buf: make([]byte, maxPiece)}); ; {
		data, err := c.next()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Path, err)
		}
		if len(data) == 0 {
			break
		}
		parts = append(parts, m.put(digest.FromBytes(data), data))
		size += int64(len(data))
	}
	if size != e.Size {
		return nil, fmt.Errorf("%s has changed while it was read", e.Path)
	}
	m.parts[e.Digest] = parts
	return parts, nil
}

// put puts a piece into a pack, unless it is in one.
func (m *maker) put(d digest.Digest, data []byte) piece {
	if one, ok := m.known[d]; ok {
		return one
	}
	if m.raw == nil {
		m.raw = make([]byte, 0, MaxPack)
		m.packs = append(m.packs, &pack{path: filepath.Join(m.temp, "pack-"+strconv.Itoa(len(m.packs)))})
	}
	one := piece{Pack: len(m.packs) - 1, Offset: int64(len(m.raw)), Size: int64(len(data)), Digest: d}
	m.raw = append(m.raw, data...)
	m.known[d] = one
	if len(m.raw) >= maxPack || len(m.raw) >= minPack && endsPack(d) {
		m.flush()
	}
	return one
}

// endsPack says whether a piece is the last of its pack, if that is not too small.
func endsPack(d digest.Digest) bool {
	n, err := strconv.ParseUint(d.Encoded()[:4], 16, 16)
	return err == nil && n%packEvery == 0
}

// flush compresses the pack that is being filled, beside the reading.
func (m *maker) flush() {
	if m.raw == nil {
		return
	}
	raw, p := m.raw, m.packs[len(m.packs)-1]
	m.raw = nil
	m.compressing.Go(func() error {
		data, blob, err := compress(raw)
		p.Blob = blob
		if err != nil {
			return err
		}
		return os.WriteFile(p.path, data, 0o600)
	})
}
