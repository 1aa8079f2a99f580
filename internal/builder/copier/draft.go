package copier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
)

// Draft is the layer of a COPY, ADD or WORKDIR before it is written: entries, and where the
// contents of files come from. The rules of what replaces what are those of BuildKit's copy
// (tonistiigi/fsutil/copy).
type Draft struct {
	below *below
	owner *owner // of everything that is made; nil keeps that of the source, and root for new parents
	mode  *chmod // --chmod: of everything that is made; nil keeps that of the source
	// entries are the layer's, by path; sources are where the contents of files come from.
	entries map[string]*layer.Entry
	order   []string // the paths of entries as they came, and those that are entries no more
	sources map[string]source
	links   map[string][]string // names that became hard links to a path
	bulk    *bulk               // further entries; nil for none
	now     int64
	// replace lets anything take the place of anything, as in an archive that is unpacked.
	replace bool
	// noXattrs leaves extended attributes behind: those of a context are the host's affair.
	noXattrs bool
	// spill opens a file for a table of many entries; nil where all stays in memory.
	spill func() (*os.File, error)
	// cleanup is done when the layer is written.
	cleanup []func()
	// copied is told how many of how many bytes are copied, nil for nobody.
	copied func(current, total int64)
	// earlier are layers that may have much of this one; nil where none is known.
	earlier func() []digest.Digest
}

type owner struct{ uid, gid int }

// contents are what the files of a Tree, or of an archive, hold.
type contents interface {
	Open(ctx context.Context, e *layer.Entry) (io.ReadCloser, error)
	Sum(ctx context.Context, entries []*layer.Entry) error
}

type source struct {
	tree  contents
	entry *layer.Entry
}

func newDraft(t layer.Tree, o *owner) *Draft {
	return &Draft{
		below: &below{t, map[string]bool{}}, owner: o,
		entries: map[string]*layer.Entry{}, sources: map[string]source{}, links: map[string][]string{},
		now: time.Now().Unix(),
	}
}

// below is the state that a layer is laid on. What is in a directory that it lacks is not asked for: a COPY makes
// many files in directories that are new.
type below struct {
	layer.Tree
	lacks map[string]bool
}

// isNothing says that there are no layers.
func (b *below) isNothing() bool {
	t := b.Tree
	if p, ok := t.(*layer.Partial); ok {
		t = p.Tree
	}
	s, ok := t.(*layer.Stack)
	return ok && s.Layers() == 0
}

// Lookup is that of the tree.
func (b *below) Lookup(ctx context.Context, path string) (*layer.Entry, error) {
	if path != "" && b.lacks[layer.Parent(path)] {
		return nil, fs.ErrNotExist
	}
	return b.Tree.Lookup(ctx, path)
}

// add makes an entry of the layer out of what is copied.
func (w *Draft) add(name string, e *layer.Entry) error {
	if w.bulk != nil && w.bulk.open {
		return w.bulk.table.Append(e)
	}
	w.set(name, e)
	return nil
}

// set makes an entry of the layer.
func (w *Draft) set(name string, e *layer.Entry) {
	if w.entries[name] == nil {
		w.order = append(w.order, name)
	}
	w.entries[name] = e
}

// list are the entries, as far as possible in the order in which they came, which is about the canonical one.
func (w *Draft) list() []*layer.Entry {
	entries := make([]*layer.Entry, 0, len(w.entries))
	if len(w.order) > len(w.entries) { // some were removed
		return slices.AppendSeq(entries, maps.Values(w.entries))
	}
	for _, name := range w.order {
		entries = append(entries, w.entries[name])
	}
	return entries
}

// resolve follows the symbolic links of a path in the state below, inside its root, as far as the path
// exists. The result names no link, so what is made at or below it stays where the person sees it. What a dangling
// link leads to is made where the link points, as the kernel does it.
func (w *Draft) resolve(ctx context.Context, name string) (string, error) {
	at, err := layer.Follow(name, func(at, rest string) (string, error) {
		e, err := w.below.Lookup(ctx, at)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return "", nil
		case err != nil:
			return "", err
		case e.Type == layer.Symlink:
			return e.Link, nil
		case e.Type != layer.Dir && strings.Trim(rest, "/") != "":
			return "", fmt.Errorf("/%s is not a directory in the image", at)
		}
		return "", nil
	})
	if links := (*layer.LinksError)(nil); errors.As(err, &links) {
		return "", fmt.Errorf("%w in the image", err)
	}
	return at, err
}

// lookup is the entry that a path has at this point; nil if there is none.
func (w *Draft) lookup(ctx context.Context, name string) (*layer.Entry, error) {
	if e := w.entries[name]; e != nil {
		return e, nil
	}
	e, err := w.below.Lookup(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		if name == "" {
			return &layer.Entry{Type: layer.Dir, Mode: 0o755}, nil
		}
		return nil, nil
	}
	return e, err
}

// makeDirs makes a directory and its missing parents.
func (w *Draft) makeDirs(ctx context.Context, name string, mode uint32) error {
	e, err := w.lookup(ctx, name)
	if err != nil {
		return err
	}
	if e != nil {
		if e.Type != layer.Dir {
			return fmt.Errorf("/%s is not a directory in the image: remove it first, or choose another destination", name)
		}
		return nil
	}
	if err := w.makeDirs(ctx, layer.Parent(name), mode); err != nil {
		return err
	}
	d := &layer.Entry{Path: name, Type: layer.Dir, Mode: w.mode.parent(mode), ModTime: w.now}
	if w.owner != nil {
		d.UID, d.GID = w.owner.uid, w.owner.gid
	}
	w.set(name, d)
	w.below.lacks[name] = true
	return nil
}

// setTime gives a directory the time of the one that is copied into it, whether it was there before or not (fsutil
// copy.go, copyFileTimestamp). The root keeps its own.
func (w *Draft) setTime(ctx context.Context, dir string, modTime int64) error {
	e, err := w.lookup(ctx, dir)
	if err != nil || dir == "" {
		return err
	}
	d := *e
	d.Path, d.Offset, d.ModTime = dir, 0, modTime
	w.set(dir, &d)
	return nil
}

// makeParents makes the directories above one that is copied as Docker's classic builder does: they are root's, unlike
// those above a file (copyDirectory in builder/dockerfile/copy.go).
func (w *Draft) makeParents(ctx context.Context, name string) error {
	owner := w.owner
	w.owner = nil
	defer func() { w.owner = owner }()
	return w.makeDirs(ctx, name, 0o755)
}

// put copies one entry of a tree to target, whose parent exists. A directory merges with one that is there,
// and gives it its attributes; anything else replaces what is there unless that is a directory.
func (w *Draft) put(ctx context.Context, t contents, e *layer.Entry, target string) error {
	there, err := w.lookup(ctx, target)
	if err != nil {
		return err
	}
	switch {
	case there == nil || w.replace:
	case e.Type == layer.Dir && there.Type != layer.Dir:
		return fmt.Errorf("cannot copy to non-directory: /%s", target)
	case e.Type != layer.Dir && there.Type == layer.Dir:
		return fmt.Errorf("cannot replace to directory /%s with file", target)
	}
	w.release(target)
	if w.replace && e.Type != layer.Dir && there != nil && there.Type == layer.Dir {
		w.dropBelow(target)
	}
	d := *e
	if d.Path = target; w.bulk == nil || !w.bulk.byOffset {
		d.Offset = 0
	}
	if d.Opaque, err = w.hidesBelow(ctx, target, e, there); err != nil {
		return err
	}
	if d.Xattrs = layer.Built(d.Xattrs); w.noXattrs {
		d.Xattrs = nil
	}
	if w.owner != nil {
		d.UID, d.GID = w.owner.uid, w.owner.gid
	}
	d.Mode = w.mode.of(&d)
	if there == nil && d.Type == layer.Dir || d.Opaque {
		w.below.lacks[target] = true
	}
	if err := w.add(target, &d); err != nil || w.bulk != nil {
		return err
	}
	delete(w.sources, target)
	if e.Type == layer.File {
		w.sources[target] = source{t, e}
	}
	return nil
}

// hidesBelow says whether a directory that is put at a path hides what the state below has there: a directory that
// something else of the draft has taken the place of before, as an archive can.
func (w *Draft) hidesBelow(ctx context.Context, name string, e, there *layer.Entry) (bool, error) {
	if e.Type != layer.Dir || there == nil {
		return false, nil
	}
	if there.Type == layer.Dir {
		return there.Opaque, nil // only what the draft has is
	}
	below, err := w.below.Lookup(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && below.Type == layer.Dir, err
}

// passThrough puts a directory that only leads to something: one that is there keeps all but its mode (fsutil copy.go,
// createParentDirs).
func (w *Draft) passThrough(ctx context.Context, t layer.Tree, e *layer.Entry, target string) error {
	there, err := w.lookup(ctx, target)
	if err != nil {
		return err
	}
	if there == nil || there.Type != layer.Dir {
		return w.put(ctx, t, e, target)
	}
	d := *there
	d.Path, d.Offset, d.Mode = target, 0, e.Mode
	return w.add(target, &d)
}

// link makes what put left at name a hard link to target, which is in the layer.
func (w *Draft) link(name, target string) {
	if e := w.entries[target]; e != nil && e.Type == layer.Hardlink {
		target = e.Link
	}
	w.set(name, &layer.Entry{Path: name, Type: layer.Hardlink, Link: target})
	w.links[target] = append(w.links[target], name)
	delete(w.sources, name)
}

// release gives the names that are hard links to a path a life of their own, before something else takes its
// place: the first becomes the file, the others links to that.
func (w *Draft) release(target string) {
	names := w.links[target]
	delete(w.links, target)
	first := ""
	for _, name := range names {
		e := w.entries[name]
		switch {
		case e == nil || e.Type != layer.Hardlink || e.Link != target:
			// Something else has taken its place before.
		case first == "":
			first = name
			file := *w.entries[target]
			file.Path = name
			w.sources[name] = w.sources[target]
			w.set(name, &file)
		default:
			w.link(name, first)
		}
	}
}

// dropBelow forgets what this layer has below a directory that is replaced by something else.
func (w *Draft) dropBelow(dir string) {
	for name := range w.entries {
		if strings.HasPrefix(name, dir+"/") {
			w.release(name)
			delete(w.entries, name)
			delete(w.sources, name)
		}
	}
}

// worthCounting is how many bytes a layer has at least, of which it is told how many are copied: less takes no time.
const worthCounting = 8 << 20

// Watch has copied told how many of how many bytes are in the layer while it is written, if these are many.
func (w *Draft) Watch(copied func(current, total int64)) { w.copied = copied }

// counted is open, telling what is read.
func (w *Draft) counted(total int64) layer.OpenFunc {
	if w.copied == nil || total < worthCounting {
		return w.open
	}
	c := &copyCount{draft: w, total: total}
	return func(ctx context.Context, e *layer.Entry) (io.ReadCloser, error) {
		r, err := w.open(ctx, e)
		if err != nil {
			return nil, err
		}
		return &countedFile{r, c}, nil
	}
}

// copyCount is what was copied so far.
type copyCount struct {
	draft   *Draft
	current atomic.Int64 // several files are read at once
	total   int64
}

// countedFile is a file whose bytes count.
type countedFile struct {
	io.ReadCloser
	count *copyCount
}

func (f *countedFile) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	f.count.draft.copied(f.count.current.Add(int64(n)), f.count.total)
	return n, err
}

// open gives the contents of an entry that put took.
func (w *Draft) open(ctx context.Context, e *layer.Entry) (io.ReadCloser, error) {
	s, ok := w.sourceOf(e)
	if !ok {
		return nil, fmt.Errorf("%s has no contents", e.Path)
	}
	return s.tree.Open(ctx, s.entry)
}
