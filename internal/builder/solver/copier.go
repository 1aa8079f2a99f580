package solver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store"
)

// copier makes the layer of a COPY, ADD or WORKDIR out of entries, without mounting anything: what is there
// already it learns from the tables of contents of the layers below. The rules of what replaces what are
// those of BuildKit's copy (tonistiigi/fsutil/copy).
type copier struct {
	below *layer.Stack
	owner *owner // of everything that is made; nil keeps that of the source, and root for new parents
	mode  *chmod // --chmod: of everything that is made; nil keeps that of the source
	// entries are the layer's, by path; sources are where the contents of files come from.
	entries map[string]*layer.Entry
	sources map[string]source
	links   map[string][]string // names that became hard links to a path
	now     int64
	// replace lets anything take the place of anything, as in an archive that is unpacked.
	replace bool
	// noXattrs leaves extended attributes behind: those of a context are the host's affair.
	noXattrs bool
	// archives are read until the layer is written.
	archives []*archive
	// cleanup is done when the layer is written.
	cleanup []func()
}

type owner struct{ uid, gid int }

type source struct {
	tree  layer.Tree
	entry *layer.Entry
}

func newCopier(below *layer.Stack, o *owner) *copier {
	return &copier{
		below: below, owner: o,
		entries: map[string]*layer.Entry{}, sources: map[string]source{}, links: map[string][]string{},
		now: time.Now().Unix(),
	}
}

// close removes what the copier unpacked.
func (c *copier) close() {
	for _, a := range c.archives {
		os.RemoveAll(a.dir)
	}
	for _, f := range slices.Backward(c.cleanup) {
		f()
	}
}

// maxDangling is how many links to nowhere are followed for one path, as many as the kernel follows of any
// kind (path_resolution(7)).
const maxDangling = 40

// resolve follows the symbolic links of a path in the state below, inside its root, as far as the path
// exists. The result names no link, so what is made at or below it stays where the person sees it.
func (c *copier) resolve(name string) (string, error) {
	resolved := ""
	rest := strings.Trim(path.Clean("/"+name), "/")
	for dangling := 0; rest != ""; {
		var first string
		first, rest, _ = strings.Cut(rest, "/")
		target, e, err := c.below.Resolve(path.Join(resolved, first))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			// A dangling link's target counts, as for the kernel: it is made where the link points.
			if link, lerr := c.below.Lookup(path.Join(resolved, first)); lerr == nil && link.Type == layer.Symlink {
				if dangling++; dangling > maxDangling {
					return "", fmt.Errorf("/%s: too many levels of symbolic links in the image", name)
				}
				next := link.Link
				if !path.IsAbs(next) {
					next = path.Join("/", resolved, next)
				}
				resolved, rest = "", strings.Trim(path.Join(path.Clean("/"+next), rest), "/")
				continue
			}
			return path.Join(resolved, first, rest), nil
		case err != nil:
			return "", err
		}
		if e.Type != layer.Dir && rest != "" {
			return "", fmt.Errorf("/%s is not a directory in the image", target)
		}
		resolved = target
	}
	return resolved, nil
}

// lookup is the entry that a path has at this point; nil if there is none.
func (c *copier) lookup(name string) (*layer.Entry, error) {
	if e := c.entries[name]; e != nil {
		return e, nil
	}
	e, err := c.below.Lookup(name)
	if errors.Is(err, fs.ErrNotExist) {
		if name == "" {
			return &layer.Entry{Type: layer.Dir, Mode: 0o755}, nil
		}
		return nil, nil
	}
	return e, err
}

// makeDirs makes a directory and its missing parents.
func (c *copier) makeDirs(name string, mode uint32) error {
	e, err := c.lookup(name)
	if err != nil {
		return err
	}
	if e != nil {
		if e.Type != layer.Dir {
			return fmt.Errorf("/%s is not a directory in the image: remove it first, or choose another destination", name)
		}
		return nil
	}
	if err := c.makeDirs(layer.Parent(name), mode); err != nil {
		return err
	}
	d := &layer.Entry{Path: name, Type: layer.Dir, Mode: c.mode.parent(mode), ModTime: c.now}
	if c.owner != nil {
		d.UID, d.GID = c.owner.uid, c.owner.gid
	}
	c.entries[name] = d
	return nil
}

// makeParents makes the directories above one that is copied as Docker's classic builder does: they are root's, unlike
// those above a file (copyDirectory in builder/dockerfile/copy.go).
func (c *copier) makeParents(name string) error {
	owner := c.owner
	c.owner = nil
	defer func() { c.owner = owner }()
	return c.makeDirs(name, 0o755)
}

// put copies one entry of a tree to target, whose parent exists. A directory merges with one that is there,
// and gives it its attributes; anything else replaces what is there unless that is a directory.
func (c *copier) put(t layer.Tree, e *layer.Entry, target string) error {
	there, err := c.lookup(target)
	if err != nil {
		return err
	}
	switch {
	case there == nil || c.replace:
	case e.Type == layer.Dir && there.Type != layer.Dir:
		return fmt.Errorf("cannot copy to non-directory: /%s", target)
	case e.Type != layer.Dir && there.Type == layer.Dir:
		return fmt.Errorf("cannot replace to directory /%s with file", target)
	}
	c.release(target)
	if c.replace && e.Type != layer.Dir && there != nil && there.Type == layer.Dir {
		c.dropBelow(target)
	}
	d := *e
	d.Path, d.Opaque, d.Offset = target, false, 0
	if d.Xattrs = layer.Built(d.Xattrs); c.noXattrs {
		d.Xattrs = nil
	}
	if c.owner != nil {
		d.UID, d.GID = c.owner.uid, c.owner.gid
	}
	d.Mode = c.mode.of(&d)
	c.entries[target] = &d
	delete(c.sources, target)
	if e.Type == layer.File {
		c.sources[target] = source{t, e}
	}
	return nil
}

// passThrough puts a directory that only leads to something: one that is there keeps all but its mode (fsutil copy.go,
// createParentDirs).
func (c *copier) passThrough(t layer.Tree, e *layer.Entry, target string) error {
	there, err := c.lookup(target)
	if err != nil {
		return err
	}
	if there == nil || there.Type != layer.Dir {
		return c.put(t, e, target)
	}
	d := *there
	d.Path, d.Opaque, d.Offset, d.Mode = target, false, 0, e.Mode
	c.entries[target] = &d
	return nil
}

// link makes what put left at name a hard link to target, which is in the layer.
func (c *copier) link(name, target string) {
	c.entries[name] = &layer.Entry{Path: name, Type: layer.Hardlink, Link: target}
	c.links[target] = append(c.links[target], name)
	delete(c.sources, name)
}

// release gives the names that are hard links to a path a life of their own, before something else takes its
// place: the first becomes the file, the others links to that.
func (c *copier) release(target string) {
	names := c.links[target]
	delete(c.links, target)
	first := ""
	for _, name := range names {
		e := c.entries[name]
		switch {
		case e == nil || e.Type != layer.Hardlink || e.Link != target:
			// Something else has taken its place before.
		case first == "":
			first = name
			file := *c.entries[target]
			file.Path = name
			c.entries[name], c.sources[name] = &file, c.sources[target]
		default:
			c.link(name, first)
		}
	}
}

// dropBelow forgets what this layer has below a directory that is replaced by something else.
func (c *copier) dropBelow(dir string) {
	for name := range c.entries {
		if strings.HasPrefix(name, dir+"/") {
			c.release(name)
			delete(c.entries, name)
			delete(c.sources, name)
		}
	}
}

// open gives the contents of an entry that put took.
func (c *copier) open(e *layer.Entry) (io.ReadCloser, error) {
	s, ok := c.sources[e.Path]
	if !ok {
		return nil, fmt.Errorf("%s has no contents", e.Path)
	}
	return s.tree.Open(s.entry)
}

// commit writes the layer, as one uncompressed tar, and returns its diffID; "" if nothing was made and
// an empty layer is not to be kept.
func (c *copier) commit(ctx context.Context, s *store.Store, keepEmpty bool) (digest.Digest, error) {
	if len(c.entries) == 0 && !keepEmpty {
		return "", nil
	}
	// The parents that exist below are part of the layer, unchanged: overlayfs shows the attributes of the
	// topmost layer that has a directory.
	for name := range c.entries {
		for p := layer.Parent(name); p != "" && c.entries[p] == nil; p = layer.Parent(p) {
			e, err := c.below.Lookup(p)
			if err != nil {
				return "", err
			}
			d := *e
			d.Opaque, d.Offset = false, 0
			c.entries[p] = &d
		}
	}
	entries := make([]*layer.Entry, 0, len(c.entries))
	for _, e := range c.entries {
		entries = append(entries, e)
	}
	t, err := layer.NewTOC(entries)
	if err != nil {
		return "", err
	}
	dir, err := s.Temp("copy")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	f, err := os.OpenFile(filepath.Join(dir, "tar"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", fmt.Errorf("writing a layer: %w", err)
	}
	made, err := layer.WriteTarFile(ctx, f, t, c.open)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("writing a layer: %w", err)
	}
	if _, err := s.AddLayer(made.DiffID, made.TOC, dir); err != nil {
		return "", err
	}
	return made.DiffID, nil
}

// contents are the entries that the copier has, with the digests of the files.
func (c *copier) contents(ctx context.Context) (*layer.TOC, error) {
	entries := make([]*layer.Entry, 0, len(c.entries))
	for name, e := range c.entries {
		d := *e
		if d.Type == layer.File && d.Digest == "" {
			from, ok := c.sources[name]
			if !ok {
				return nil, fmt.Errorf("%s has no contents", name)
			}
			if err := from.tree.Sum(ctx, []*layer.Entry{from.entry}); err != nil {
				return nil, err
			}
			d.Digest = from.entry.Digest
		}
		entries = append(entries, &d)
	}
	return layer.NewTOC(entries)
}
