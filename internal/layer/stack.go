package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// Stack is the merged view of layers, and a Tree: what a container sees that runs on them.
//
// It is made on first use: one sorted list of all paths that show, each with its layer, 12 bytes a path beside the
// tables of contents, which may be Packed (TableSource). Hard links come out as files of their own, of type File with
// the mode, owner, size, digest and attributes of their target. Whiteouts and opaque marks do not come out. Parents
// that no layer has an entry for appear as directories 0755 0:0. The entries must not be changed. A Stack can be used
// by several goroutines.
type Stack struct {
	sources []Source
	below   *Stack // of the first of the sources, nil once it is loaded
	loading sync.Mutex
	loaded  atomic.Bool
	merged               // not changed once it is loaded
	next    atomic.Int32 // where in the index a path is likely to be that is looked for next
	summed  sync.Map     // path → *Entry with a digest, of the files that have none in the table of contents
}

// NewStack merges layers, the lowest first. None give an empty root.
func NewStack(sources ...Source) *Stack { return &Stack{sources: sources} }

// With is the stack with more layers on top of it, which needs only those to be read where this one is made already.
func (s *Stack) With(sources ...Source) *Stack {
	return &Stack{sources: append(slices.Clip(s.sources), sources...), below: s}
}

// Layers is the number of layers.
func (s *Stack) Layers() int { return len(s.sources) }

// load merges the layers, whose tables of contents it reads at the same time. Where one cannot be read, the next call
// tries again.
func (s *Stack) load(ctx context.Context) error {
	if s.loaded.Load() {
		return nil
	}
	s.loading.Lock()
	defer s.loading.Unlock()
	if s.loaded.Load() {
		return nil
	}
	var low merged
	from := 0 // the first layer that is not in low
	if s.below != nil {
		if err := s.below.load(ctx); err != nil {
			return err
		}
		low, from = s.below.merged, len(s.below.sources)
	}
	tables, err := readTables(ctx, s.sources, from)
	if err != nil {
		return err
	}
	empty := s.below != nil
	for _, t := range tables {
		empty = empty && t.Len() == 0
	}
	low.tables = append(slices.Clip(low.tables), tables...)
	if !empty {
		low.made = slices.Clip(low.made[:low.resolved])
		low.index = slices.DeleteFunc(slices.Clone(low.index), func(x stacked) bool { return x.layer < 0 })
		for i := range tables {
			low.addLayer(int32(from + i))
		}
		low.close()
	}
	s.merged, s.below = low, nil
	s.loaded.Store(true)
	return nil
}

// TableSource is a Source that gives its table of contents as what may not be decoded: a *TOC or a *Packed.
type TableSource interface {
	Source
	Table(ctx context.Context) (Table, error)
}

// readTables reads the tables of contents of those sources that come after the first few, at the same time.
func readTables(ctx context.Context, sources []Source, from int) ([]placedTable, error) {
	tables := make([]placedTable, len(sources)-from)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16) // each has a file open
	for i := range tables {
		g.Go(func() (err error) {
			if tables[i], err = readTable(ctx, sources[from+i]); err != nil {
				return &unreadError{from + i + 1, err}
			}
			return nil
		})
	}
	return tables, g.Wait()
}

func readTable(ctx context.Context, s Source) (placedTable, error) {
	if s, ok := s.(TableSource); ok {
		t, err := s.Table(ctx)
		if packed, ok := t.(*Packed); ok || err != nil {
			return packed, err
		}
		if t, ok := t.(*TOC); ok {
			return t, nil
		}
	}
	return s.TOC(ctx)
}

// unreadError says that a layer's table of contents could not be read. Whatever the reason is, it is not fs.ErrNotExist
// for those who look for a path: what they look for may be there.
type unreadError struct {
	layer int // from 1
	err   error
}

func (e *unreadError) Error() string {
	return fmt.Sprintf("reading the table of contents of layer %d: %v", e.layer, e.err)
}

// Is and As show all of the reason but fs.ErrNotExist.
func (e *unreadError) Is(target error) bool {
	return target != fs.ErrNotExist && errors.Is(e.err, target)
}

func (e *unreadError) As(target any) bool { return errors.As(e.err, target) }

// Within says whether path is somewhere in the directory dir.
func Within(path, dir string) bool {
	return dir == "" || len(path) > len(dir) && path[len(dir)] == '/' && strings.HasPrefix(path, dir)
}

// find returns the place of a path in the index.
func (s *Stack) find(ctx context.Context, c *cursors, path string) (int, error) {
	if err := s.load(ctx); err != nil {
		return 0, err
	}
	if s.samples == nil {
		return s.found(s.search(c, path), c, path)
	}
	i := int(s.next.Load())
	if i >= len(s.index) || s.peek(c, i).Path != path {
		i = s.search(c, path)
	}
	s.next.Store(int32(i) + 1)
	return s.found(i, c, path)
}

// found is what find returns where search says i.
func (s *Stack) found(i int, c *cursors, path string) (int, error) {
	if i == len(s.index) || s.peek(c, i).Path != path {
		return 0, &fs.PathError{Op: "lookup", Path: path, Err: fs.ErrNotExist}
	}
	return i, nil
}

// Lookup returns the entry of a path; the root is "".
func (s *Stack) Lookup(ctx context.Context, path string) (*Entry, error) {
	c := &cursors{}
	i, err := s.find(ctx, c, path)
	if err != nil {
		return nil, err
	}
	return s.entry(c, i), nil
}

// withDigest is an entry of the stack with its digest.
func (s *Stack) withDigest(ctx context.Context, e *Entry) (*Entry, error) {
	if e.Type != File || e.Digest != "" {
		return e, nil
	}
	if known, ok := s.summed.Load(e.Path); ok {
		return known.(*Entry), nil
	}
	whole := *e // others read e at the same time
	if err := sumFiles(ctx, []*Entry{&whole}, s.Open); err != nil {
		return nil, err
	}
	s.summed.Store(e.Path, &whole)
	return &whole, nil
}

// Capabilities implements Tree: files are shared within a layer only, as in an overlay.
func (s *Stack) Capabilities() Capabilities { return Capabilities{Identities: s.identities} }

// placedFile is a file of a layer, by its place in the table.
type placedFile struct {
	layer int32
	place int
}

func (s *Stack) identities(ctx context.Context, _ string, entries []*Entry) ([]any, error) {
	all, c := make([]any, len(entries)), &cursors{}
	for i, e := range entries {
		if e.Type != File {
			continue
		}
		at, err := s.find(ctx, c, e.Path)
		if err != nil {
			return nil, err
		}
		file, _ := s.file(at)
		all[i] = placedFile{s.index[at].layer, file}
	}
	return all, nil
}

// ReadDir returns the entries of a directory, sorted by Compare.
func (s *Stack) ReadDir(ctx context.Context, path string) ([]*Entry, error) {
	c := &cursors{}
	i, err := s.find(ctx, c, path)
	if err != nil {
		return nil, err
	}
	if s.peek(c, i).Type != Dir {
		return nil, &fs.PathError{Op: "readdir", Path: path, Err: fmt.Errorf("not a directory")}
	}
	var entries []*Entry
	for j, end := int32(i)+1, s.index[i].end; j < end; j = s.index[j].end {
		entries = append(entries, s.entry(c, int(j)))
	}
	return entries, nil
}

// Walk calls fn for the entry of path and for all that is in it, in canonical order. fs.SkipDir leaves a
// directory's contents out, fs.SkipAll ends the walk.
func (s *Stack) Walk(ctx context.Context, path string, fn func(*Entry) error) error {
	c := &cursors{}
	i, err := s.find(ctx, c, path)
	if err != nil {
		return err
	}
	for j, end := int32(i), s.index[i].end; j < end; {
		switch err := fn(s.entry(c, int(j))); err {
		case nil:
			j++
		case fs.SkipDir:
			j = s.index[j].end
		case fs.SkipAll:
			return nil
		default:
			return err
		}
	}
	return nil
}

// Resolve follows a path as a chroot in the merged root would: see the function Resolve.
func (s *Stack) Resolve(ctx context.Context, path string) (string, *Entry, error) {
	return Resolve(ctx, s, path)
}

// Layer says which layer a path comes from, counted from the lowest, which is 0; -1 is none, of implied parents.
func (s *Stack) Layer(ctx context.Context, path string) (int, error) {
	i, err := s.find(ctx, &cursors{}, path)
	if err != nil {
		return 0, err
	}
	return int(s.index[i].layer), nil
}

// Open reads the contents of a regular file by the path of its entry.
func (s *Stack) Open(ctx context.Context, e *Entry) (io.ReadCloser, error) {
	c := &cursors{}
	i, err := s.find(ctx, c, e.Path)
	if err != nil {
		return nil, err
	}
	if s.peek(c, i).Type != File {
		return nil, &fs.PathError{Op: "open", Path: e.Path, Err: fmt.Errorf("not a regular file")}
	}
	layer := s.index[i].layer
	place, _ := s.file(i)
	return s.sources[layer].Open(ctx, c.of(&s.merged, layer).entry(place))
}

// Sum puts others in the place of the entries whose digests the layers' tables of contents do not have. Most tables
// have them all; the files of the others are read.
func (s *Stack) Sum(ctx context.Context, entries []*Entry) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for i, e := range entries {
		if e.Type != File || e.Digest != "" {
			continue
		}
		g.Go(func() (err error) {
			entries[i], err = s.withDigest(ctx, e)
			return err
		})
	}
	return g.Wait()
}

// Placed is an entry of a merged view, as it is in the layer that it comes from.
type Placed struct {
	*Entry
	Layer int // counted from the lowest, which is 0; -1 of implied parents
}

// Placed gives the merged view, in canonical order. Files that share an inode in one layer are hard links again. The
// entries must not be changed.
func (s *Stack) Placed(ctx context.Context) (iter.Seq[Placed], error) {
	if err := s.load(ctx); err != nil {
		return nil, err
	}
	shared := map[placedFile]bool{} // that have links
	for i, x := range s.index {
		if file, isLink := s.file(i); isLink {
			shared[placedFile{x.layer, file}] = true
		}
	}
	return func(yield func(Placed) bool) {
		first := make(map[placedFile]string, len(shared)) // the path that has come already
		c := &cursors{}
		for i, x := range s.index {
			e := s.entry(c, i)
			if file, _ := s.file(i); file >= 0 && len(shared) > 0 && shared[placedFile{x.layer, file}] {
				if path, ok := first[placedFile{x.layer, file}]; ok {
					e = &Entry{Path: e.Path, Type: Hardlink, Link: path}
				} else {
					first[placedFile{x.layer, file}] = e.Path
				}
			}
			if !yield(Placed{e, int(x.layer)}) {
				return
			}
		}
	}, nil
}

// Flatten is the merged view as the TOC of one layer, for which Open of the Stack opens the contents. Files that
// share an inode in one layer are hard links again.
func (s *Stack) Flatten(ctx context.Context) (*TOC, error) {
	all, err := s.Placed(ctx)
	if err != nil {
		return nil, err
	}
	entries := make([]*Entry, 0, len(s.index))
	for p := range all {
		e := *p.Entry
		e.Offset = 0
		entries = append(entries, &e)
	}
	return NewTOC(entries)
}
