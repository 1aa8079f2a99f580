package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// Stack is the merged view of layers, and a Tree: what a container sees that runs on them.
//
// It is made on first use: one sorted list of all paths that show, each with its layer, 56 bytes a path beside the
// TOCs. Hard links come out as files of their own, of type File with the mode, owner, size, digest and attributes of
// their target. Whiteouts and opaque marks do not come out. Parents that no layer has an entry for appear as
// directories 0755 0:0. The entries must not be changed. A Stack can be used by several goroutines.
type Stack struct {
	sources []Source
	below   *Stack // of the first of the sources, nil once it is loaded
	loading sync.Mutex
	loaded  atomic.Bool
	index   []stacked // not changed once it is loaded
	summed  sync.Map  // path → *Entry with a digest, of the files that have none in the table of contents
}

// stacked is an entry of the merged view.
type stacked struct {
	e     *Entry // as it comes out
	in    *Entry // the File of the layer that has the contents, where that is another
	layer int32  // -1 for an implied parent
	end   int32  // index of the first entry after this one that is not in it
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
	var all []stacked
	from := 0 // the first layer that is not in all
	if s.below != nil {
		if err := s.below.load(ctx); err != nil {
			return err
		}
		all, from = s.below.index, len(s.below.sources)
	}
	tocs, err := readTOCs(ctx, s.sources, from)
	if err != nil {
		return err
	}
	empty := s.below != nil
	for _, t := range tocs {
		empty = empty && len(t.Entries) == 0
	}
	if !empty {
		all = slices.DeleteFunc(slices.Clone(all), func(x stacked) bool { return x.layer < 0 })
		for i, t := range tocs {
			all = mergeLayer(all, t, int32(from+i))
		}
		all = closeIndex(all)
	}
	s.index, s.below = all, nil
	s.loaded.Store(true)
	return nil
}

// readTOCs reads the tables of contents of those sources that come after the first few, at the same time.
func readTOCs(ctx context.Context, sources []Source, from int) ([]*TOC, error) {
	tocs := make([]*TOC, len(sources)-from)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16) // each has a file open
	for i := range tocs {
		g.Go(func() (err error) {
			if tocs[i], err = sources[from+i].TOC(ctx); err != nil {
				return &unreadError{from + i + 1, err}
			}
			return nil
		})
	}
	return tocs, g.Wait()
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

// mergeLayer puts one layer on top of what is merged already. Both are in canonical order, where all that a directory
// holds follows it, so that what a whiteout hides is one run.
func mergeLayer(low []stacked, t *TOC, layer int32) []stacked {
	out := make([]stacked, 0, len(low)+len(t.Entries))
	for _, e := range t.Entries {
		n := before(low, e.Path)
		out = append(out, low[:n]...)
		if low = low[n:]; len(low) > 0 && low[0].e.Path == e.Path {
			low = low[1:]
		}
		if e.Type != Dir || e.Opaque {
			for len(low) > 0 && Within(low[0].e.Path, e.Path) {
				low = low[1:]
			}
		}
		if e.Type != Whiteout {
			out = append(out, resolveLink(t, e, layer))
		}
	}
	return append(out, low...)
}

// before is the number of entries at the beginning of low that come before path. Layers mostly touch different
// directories, so that runs are long: the steps double until one is too far.
func before(low []stacked, path string) int {
	reaches := func(i int) bool { return Compare(low[i].e.Path, path) >= 0 }
	if len(low) == 0 || reaches(0) {
		return 0
	}
	lo, step := 0, 1 // low[lo] comes before path
	for lo+step < len(low) && !reaches(lo+step) {
		lo += step
		step *= 2
	}
	hi := min(lo+step, len(low))
	return lo + 1 + sort.Search(hi-lo-1, func(i int) bool { return reaches(lo + 1 + i) })
}

// Within says whether path is somewhere in the directory dir.
func Within(path, dir string) bool {
	return dir == "" || len(path) > len(dir) && path[len(dir)] == '/' && strings.HasPrefix(path, dir)
}

// resolveLink makes a file of a hard link, and takes marks off.
func resolveLink(t *TOC, e *Entry, layer int32) stacked {
	switch {
	case e.Type == Hardlink:
		target := t.Lookup(e.Link)
		if target == nil {
			break
		}
		whole := *target
		whole.Path = e.Path
		return stacked{e: &whole, in: target, layer: layer}
	case e.Opaque:
		plain := *e
		plain.Opaque = false
		return stacked{e: &plain, layer: layer}
	}
	return stacked{e: e, layer: layer}
}

// closeIndex adds implied parents and sets end of every entry.
func closeIndex(all []stacked) []stacked {
	out := make([]stacked, 0, len(all)+1)
	var open []int32 // directories that hold the current entry
	implied := func(path string, like *Entry) stacked {
		return stacked{e: &Entry{Path: path, Type: Dir, Mode: 0o755, ModTime: like.ModTime}, layer: -1}
	}
	add := func(s stacked) {
		open = append(open, int32(len(out)))
		out = append(out, s)
	}
	if len(all) == 0 || all[0].e.Path != "" {
		add(implied("", &Entry{}))
	}
	for _, s := range all {
		for len(open) > 0 && !Within(s.e.Path, out[open[len(open)-1]].e.Path) {
			out[open[len(open)-1]].end = int32(len(out))
			open = open[:len(open)-1]
		}
		if len(open) > 0 {
			have := out[open[len(open)-1]].e.Path
			for have != Parent(s.e.Path) {
				rest := s.e.Path[len(have):]
				name, _, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
				have = join(have, name)
				add(implied(have, s.e))
			}
		}
		add(s)
	}
	for _, i := range open {
		out[i].end = int32(len(out))
	}
	return out
}

// find returns the place of a path in the index.
func (s *Stack) find(ctx context.Context, path string) (int, error) {
	if err := s.load(ctx); err != nil {
		return 0, err
	}
	i := sort.Search(len(s.index), func(i int) bool { return Compare(s.index[i].e.Path, path) >= 0 })
	if i == len(s.index) || s.index[i].e.Path != path {
		return 0, &fs.PathError{Op: "lookup", Path: path, Err: fs.ErrNotExist}
	}
	return i, nil
}

// Lookup returns the entry of a path; the root is "".
func (s *Stack) Lookup(ctx context.Context, path string) (*Entry, error) {
	i, err := s.find(ctx, path)
	if err != nil {
		return nil, err
	}
	return s.index[i].e, nil
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

func (s *Stack) identities(ctx context.Context, _ string, entries []*Entry) ([]any, error) {
	all := make([]any, len(entries))
	for i, e := range entries {
		if e.Type != File {
			continue
		}
		at, err := s.find(ctx, e.Path)
		if err != nil {
			return nil, err
		}
		if all[i] = s.index[at].e; s.index[at].in != nil {
			all[i] = s.index[at].in
		}
	}
	return all, nil
}

// ReadDir returns the entries of a directory, sorted by Compare.
func (s *Stack) ReadDir(ctx context.Context, path string) ([]*Entry, error) {
	i, err := s.find(ctx, path)
	if err != nil {
		return nil, err
	}
	if s.index[i].e.Type != Dir {
		return nil, &fs.PathError{Op: "readdir", Path: path, Err: fmt.Errorf("not a directory")}
	}
	var entries []*Entry
	for j, end := int32(i)+1, s.index[i].end; j < end; j = s.index[j].end {
		entries = append(entries, s.index[j].e)
	}
	return entries, nil
}

// Walk calls fn for the entry of path and for all that is in it, in canonical order. fs.SkipDir leaves a
// directory's contents out, fs.SkipAll ends the walk.
func (s *Stack) Walk(ctx context.Context, path string, fn func(*Entry) error) error {
	i, err := s.find(ctx, path)
	if err != nil {
		return err
	}
	for j, end := int32(i), s.index[i].end; j < end; {
		switch err := fn(s.index[j].e); err {
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
	i, err := s.find(ctx, path)
	if err != nil {
		return 0, err
	}
	return int(s.index[i].layer), nil
}

// Open reads the contents of a regular file by the path of its entry.
func (s *Stack) Open(ctx context.Context, e *Entry) (io.ReadCloser, error) {
	i, err := s.find(ctx, e.Path)
	if err != nil {
		return nil, err
	}
	at := s.index[i]
	if at.e.Type != File {
		return nil, &fs.PathError{Op: "open", Path: e.Path, Err: fmt.Errorf("not a regular file")}
	}
	if at.in == nil {
		at.in = at.e
	}
	return s.sources[at.layer].Open(ctx, at.in)
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

// Placed lists the merged view. Files that share an inode in one layer are hard links again. The entries must not be
// changed.
func (s *Stack) Placed(ctx context.Context) ([]Placed, error) {
	if err := s.load(ctx); err != nil {
		return nil, err
	}
	first := make(map[*Entry]string) // inode → the path that has come already
	for _, x := range s.index {
		if x.in != nil {
			first[x.in] = ""
		}
	}
	all := make([]Placed, 0, len(s.index))
	for _, x := range s.index {
		e, inode := x.e, x.in
		if inode == nil {
			inode = x.e
		}
		if path, ok := first[inode]; ok {
			if path != "" {
				e = &Entry{Path: e.Path, Type: Hardlink, Link: path}
			} else {
				first[inode] = e.Path
			}
		}
		all = append(all, Placed{e, int(x.layer)})
	}
	return all, nil
}

// Flatten is the merged view as the TOC of one layer, for which Open of the Stack opens the contents. Files that
// share an inode in one layer are hard links again.
func (s *Stack) Flatten(ctx context.Context) (*TOC, error) {
	all, err := s.Placed(ctx)
	if err != nil {
		return nil, err
	}
	entries := make([]*Entry, len(all))
	for i, p := range all {
		e := *p.Entry
		e.Offset = 0
		entries[i] = &e
	}
	return NewTOC(entries)
}
