package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// Stack is the merged view of layers, and a Tree: what a container sees that runs on them.
//
// It is made on first use: one sorted list of all paths that show, each with its layer, 12 bytes a path beside the
// tables of contents, which may be Packed (TableSource). Hard links come out as files of their own, of type File with the mode, owner, size, digest and attributes of
// their target. Whiteouts and opaque marks do not come out. Parents that no layer has an entry for appear as
// directories 0755 0:0. The entries must not be changed. A Stack can be used by several goroutines.
type Stack struct {
	sources []Source
	below   *Stack // of the first of the sources, nil once it is loaded
	loading sync.Mutex
	loaded  atomic.Bool
	merged               // not changed once it is loaded
	next    atomic.Int32 // where in the index a path is likely to be that is looked for next
	summed  sync.Map     // path → *Entry with a digest, of the files that have none in the table of contents
}

// merged are the entries of a merged view, in canonical order.
type merged struct {
	tables []placedTable // of the layers
	made   []made
	index  []stacked
	// resolved is how many were made of layers' entries; those behind them are implied parents.
	resolved int
	// samples are the paths of every sampleStep-th entry, in which a path is looked for first; nil where no table is
	// packed, and all paths are in memory.
	samples []string
}

const sampleStep = 64

// placedTable is a table of contents whose entries are found by their places: a TOC or a Packed.
type placedTable interface {
	Table
	cursor() tableReader
}

// stacked is an entry of the merged view.
type stacked struct {
	place uint32 // in the layer's table, or, with isMade, in what was made
	layer int32  // -1 for an implied parent
	end   int32  // index of the first entry after this one that is not in it
}

// isMade is the bit of a place that is one in merged.made.
const isMade = 1 << 31

// made is an entry that comes out otherwise than it is in a table: of an implied parent, an opaque directory, a hard
// link.
type made struct {
	e    *Entry
	file int32 // the place of what a hard link shares, in the layer's table; -1 for another
}

// peek is an entry as tableReader.peek gives it.
func (m *merged) peek(c *cursors, i int) *Entry {
	x := m.index[i]
	if x.place&isMade != 0 {
		return m.made[x.place&^isMade].e
	}
	return c.of(m, x.layer).peek(int(x.place))
}

// entry is an entry that stays as it is.
func (m *merged) entry(c *cursors, i int) *Entry {
	x := m.index[i]
	if x.place&isMade != 0 {
		return m.made[x.place&^isMade].e
	}
	return c.of(m, x.layer).entry(int(x.place))
}

// file is the place of a File's contents in the table of its layer.
func (m *merged) file(i int) (place int, isLink bool) {
	x := m.index[i]
	if x.place&isMade == 0 {
		return int(x.place), false
	}
	if file := m.made[x.place&^isMade].file; file >= 0 {
		return int(file), true
	}
	return -1, false
}

// add puts an entry that was made behind all others.
func (m *merged) add(e *Entry, file int32, layer int32) {
	m.index = append(m.index, stacked{place: isMade | uint32(len(m.made)), layer: layer})
	m.made = append(m.made, made{e, file})
}

// cursors read the tables of a merged view for one goroutine.
type cursors struct {
	layer  int32 // whose cursor is now
	now    tableReader
	packed map[int32]tableReader
}

// of is the cursor of a layer.
func (c *cursors) of(m *merged, layer int32) tableReader {
	if c.now != nil && c.layer == layer {
		return c.now
	}
	c.layer = layer
	if t, ok := m.tables[layer].(*TOC); ok {
		c.now = t.cursor()
		return c.now
	}
	if c.now = c.packed[layer]; c.now == nil {
		if c.packed == nil {
			c.packed = map[int32]tableReader{}
		}
		c.now = m.tables[layer].cursor()
		c.packed[layer] = c.now
	}
	return c.now
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

// addLayer puts one layer on top of what is merged already. Both are in canonical order, where all that a directory
// holds follows it, so that what a whiteout hides is one run.
func (m *merged) addLayer(layer int32) {
	t := m.tables[layer]
	low, lows := *m, &cursors{} // what is not above the next entry
	m.index = make([]stacked, 0, len(low.index)+t.Len())
	drop := func() { low.index = low.index[1:] }
	top, targets := t.cursor(), t.cursor()
	for i := range t.Len() {
		e := top.peek(i)
		n := low.before(lows, e.Path)
		m.index = append(m.index, low.index[:n]...)
		low.index = low.index[n:]
		if len(low.index) > 0 && low.peek(lows, 0).Path == e.Path {
			drop()
		}
		if e.Type != Dir || e.Opaque {
			for len(low.index) > 0 && Within(low.peek(lows, 0).Path, e.Path) {
				drop()
			}
		}
		if e.Type != Whiteout {
			m.addResolved(t, top, targets, i, layer)
		}
	}
	m.index = append(m.index, low.index...)
}

// before is the number of entries at the beginning that come before path. Layers mostly touch different directories,
// so that runs are long: the steps double until one is too far.
func (m *merged) before(c *cursors, path string) int {
	reaches := func(i int) bool { return Compare(m.peek(c, i).Path, path) >= 0 }
	if len(m.index) == 0 || reaches(0) {
		return 0
	}
	lo, step := 0, 1 // the entry at lo comes before path
	for lo+step < len(m.index) && !reaches(lo+step) {
		lo += step
		step *= 2
	}
	hi := min(lo+step, len(m.index))
	return lo + 1 + sort.Search(hi-lo-1, func(i int) bool { return reaches(lo + 1 + i) })
}

// Within says whether path is somewhere in the directory dir.
func Within(path, dir string) bool {
	return dir == "" || len(path) > len(dir) && path[len(dir)] == '/' && strings.HasPrefix(path, dir)
}

// addResolved puts the entry at a place of a layer's table behind all others: a file in the place of a hard link, and
// without a mark. Of the readers of the table, targets is for what hard links lead to.
func (m *merged) addResolved(t placedTable, top, targets tableReader, place int, layer int32) {
	e := top.peek(place)
	switch {
	case e.Type == Hardlink:
		file, target := placeOf(t, targets, e.Link)
		if target == nil {
			break
		}
		whole := *target
		whole.Path = e.Path
		m.add(&whole, int32(file), layer)
		return
	case e.Opaque:
		plain := *top.entry(place)
		plain.Opaque = false
		m.add(&plain, -1, layer)
		return
	}
	m.index = append(m.index, stacked{place: uint32(place), layer: layer})
}

// placeOf finds a path in a table; nil if it is not there.
func placeOf(t placedTable, c tableReader, path string) (int, *Entry) {
	i := 0
	switch t := t.(type) {
	case *Packed:
		i = t.find(path, c)
	case *TOC:
		i = t.find(path)
	}
	if i == t.Len() || c.peek(i).Path != path {
		return 0, nil
	}
	return i, c.entry(i)
}

// close adds implied parents and sets end of every entry.
func (m *merged) close() {
	old, c := *m, &cursors{}
	m.index, m.resolved, m.samples = make([]stacked, 0, len(old.index)+1), len(m.made), nil
	type dir struct {
		at   int32
		path string
	}
	var open []dir // that hold the current entry
	leave := func() {
		m.index[open[len(open)-1].at].end = int32(len(m.index))
		open = open[:len(open)-1]
	}
	imply := func(path string, modTime int64) {
		open = append(open, dir{int32(len(m.index)), path})
		m.add(&Entry{Path: path, Type: Dir, Mode: 0o755, ModTime: modTime}, -1, -1)
	}
	if len(old.index) == 0 || old.peek(c, 0).Path != "" {
		imply("", 0)
	}
	for i, x := range old.index {
		e := old.peek(c, i)
		for len(open) > 0 && !Within(e.Path, open[len(open)-1].path) {
			leave()
		}
		if len(open) > 0 {
			have := open[len(open)-1].path
			for have != Parent(e.Path) {
				rest := e.Path[len(have):]
				name, _, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
				have = join(have, name)
				imply(have, e.ModTime)
			}
		}
		open = append(open, dir{int32(len(m.index)), e.Path})
		m.index = append(m.index, x)
	}
	for len(open) > 0 {
		leave()
	}
	m.sample()
}

// sample takes the samples.
func (m *merged) sample() {
	if !slices.ContainsFunc(m.tables, func(t placedTable) bool { _, ok := t.(*Packed); return ok }) {
		return
	}
	c := &cursors{}
	m.samples = make([]string, 0, len(m.index)/sampleStep+1)
	for i := 0; i < len(m.index); i += sampleStep {
		m.samples = append(m.samples, strings.Clone(m.peek(c, i).Path))
	}
}

// search is the index of a path's entry, or the one at which it would be.
func (m *merged) search(c *cursors, path string) int {
	from, to := 0, len(m.index)
	if m.samples != nil {
		n := sort.Search(len(m.samples), func(i int) bool { return Compare(m.samples[i], path) >= 0 })
		from, to = max(n-1, 0)*sampleStep, min(n*sampleStep, to)
	}
	return from + sort.Search(to-from, func(i int) bool { return Compare(m.peek(c, from+i).Path, path) >= 0 })
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
