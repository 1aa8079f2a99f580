package layer

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Limits that every path, tar and TOC is held to. The first two are the kernel's (NAME_MAX, PATH_MAX).
const (
	MaxName    = 255     // bytes of one path component
	MaxPath    = 4096    // bytes of a path or of a link's target
	MaxEntries = 4 << 20 // entries of one layer; a full Debian desktop has 0.3 million
)

// TOC is a layer's table of contents.
//
// The entries are in the order of Compare, one per path, and the root ("") may be missing. Of files
// that share an inode the first path is the File and all others are Hardlinks to it, so that equal
// files give equal TOCs whatever the order in which they were found. A Hardlink has its target's
// mode, owner and time, no size, digest or xattrs; a Whiteout has nothing but its path, for who
// made it, and when, is overlayfs's affair.
type TOC struct {
	Entries []*Entry
}

// NewTOC brings entries into canonical form. It takes the slice over, but not what it points to:
// entries that are not canonical are replaced, never changed, since they may be another TOC's. Two
// entries of one path, a path or link that no layer can hold, and a hard link without target are
// errors.
func NewTOC(entries []*Entry) (*TOC, error) {
	byPath := func(a, b *Entry) int { return Compare(a.Path, b.Path) }
	if !slices.IsSortedFunc(entries, byPath) {
		slices.SortFunc(entries, byPath)
	}
	for i, e := range entries {
		if e.Type == Whiteout {
			entries[i] = &Entry{Path: e.Path, Type: Whiteout}
		}
	}
	t := &TOC{Entries: entries}
	if err := t.check(); err != nil {
		return nil, err
	}
	if err := t.canonicalLinks(); err != nil {
		return nil, err
	}
	return t, nil
}

// Dated is the same with no time after epoch, in seconds since 1970.
func (t *TOC) Dated(epoch int64) (*TOC, error) {
	entries := make([]*Entry, len(t.Entries))
	for i, e := range t.Entries {
		dated := *e
		dated.ModTime = min(e.ModTime, epoch)
		entries[i] = &dated
	}
	return NewTOC(entries)
}

// Lookup returns the entry of a path, nil if there is none.
func (t *TOC) Lookup(path string) *Entry {
	i := t.find(path)
	if i < len(t.Entries) && t.Entries[i].Path == path {
		return t.Entries[i]
	}
	return nil
}

// find returns the index of a path's entry, or the one at which it would be.
func (t *TOC) find(path string) int {
	return sort.Search(len(t.Entries), func(i int) bool { return Compare(t.Entries[i].Path, path) >= 0 })
}

func (t *TOC) cursor() tableReader { return t }

func (t *TOC) entry(i int) *Entry { return t.Entries[i] }
func (t *TOC) peek(i int) *Entry  { return t.Entries[i] }

// Size is the sum of the sizes of the regular files in bytes, each inode once: what Docker shows as a layer's size.
func (t *TOC) Size() int64 {
	var n int64
	for _, e := range t.Entries {
		if e.Type == File {
			n += e.Size
		}
	}
	return n
}

// ContentID is the digest of everything in the TOC but the times and the offsets: two layers with one content ID
// hold the same files.
func (t *TOC) ContentID() digest.Digest { return contentID(t.All()) }

// check verifies order and every single entry.
func (t *TOC) check() error {
	if len(t.Entries) > MaxEntries {
		return fmt.Errorf("the layer has %d entries, more than the %d that strata accepts", len(t.Entries), MaxEntries)
	}
	for i, e := range t.Entries {
		if i > 0 {
			switch c := Compare(t.Entries[i-1].Path, e.Path); {
			case c == 0:
				return fmt.Errorf("two entries of the path %q", clip(e.Path))
			case c > 0:
				return fmt.Errorf("entry %q is out of order", clip(e.Path))
			}
		}
		if err := e.check(); err != nil {
			return err
		}
	}
	return nil
}

// check verifies what does not depend on other entries.
func (e *Entry) check() error {
	if err := checkPath(e.Path); err != nil {
		return err
	}
	switch {
	case e.Path == "" && e.Type != Dir:
		return errors.New("the root is not a directory")
	case e.Mode&^0o7777 != 0:
		return fmt.Errorf("entry %q: mode %#o has more than permission bits", clip(e.Path), e.Mode)
	case e.UID < 0 || e.GID < 0 || int64(e.UID) > 1<<32-2 || int64(e.GID) > 1<<32-2:
		return fmt.Errorf("entry %q: owner %d:%d is out of range", clip(e.Path), e.UID, e.GID)
	case e.Size < 0:
		return fmt.Errorf("entry %q: size %d is negative", clip(e.Path), e.Size)
	case e.Opaque && e.Type != Dir:
		return fmt.Errorf("entry %q is opaque, but not a directory", clip(e.Path))
	}
	switch e.Type {
	case Dir, File, Char, Block, Fifo, Whiteout:
	case Symlink:
		if e.Link == "" || len(e.Link) > MaxPath || strings.IndexByte(e.Link, 0) >= 0 {
			return fmt.Errorf("entry %q: no symbolic link can have the target %q", clip(e.Path), clip(e.Link))
		}
	case Hardlink:
		if err := checkPath(e.Link); err != nil {
			return fmt.Errorf("entry %q: hard link: %w", clip(e.Path), err)
		}
	default:
		return fmt.Errorf("entry %q has the unknown type %q", clip(e.Path), e.Type)
	}
	for i, x := range e.Xattrs {
		if x.Name == "" || strings.ContainsAny(x.Name, "=\x00") || i > 0 && e.Xattrs[i-1].Name >= x.Name {
			return fmt.Errorf("entry %q: extended attribute %q has a bad name, comes twice or out of order", clip(e.Path), clip(x.Name))
		}
	}
	return nil
}

// canonicalLinks moves the contents of each group of hard links to the group's first path.
func (t *TOC) canonicalLinks() error {
	var groups map[string][]int // path of the file → indexes of its links, in canonical order
	for i, e := range t.Entries {
		if e.Type != Hardlink {
			continue
		}
		target, err := t.linkTarget(e)
		if err != nil {
			return err
		}
		if groups == nil {
			groups = make(map[string][]int)
		}
		groups[target.Path] = append(groups[target.Path], i)
	}
	for path, links := range groups {
		at := t.find(path)
		target := t.Entries[at]
		if first := links[0]; first < at {
			moved := *target
			moved.Path = t.Entries[first].Path
			t.Entries[first] = &moved
			links[0], target = at, &moved
		}
		for _, i := range links {
			t.Entries[i] = &Entry{
				Path: t.Entries[i].Path, Type: Hardlink, Link: target.Path,
				Mode: target.Mode, UID: target.UID, GID: target.GID, ModTime: target.ModTime,
			}
		}
	}
	return nil
}

// linkTarget follows a chain of hard links to the entry that is no hard link.
func (t *TOC) linkTarget(e *Entry) (*Entry, error) {
	for range 40 {
		target := t.Lookup(e.Link)
		switch {
		case target == nil:
			return nil, fmt.Errorf("entry %q is a hard link to %q, which this layer does not hold", clip(e.Path), clip(e.Link))
		case target.Type == Dir || target.Type == Whiteout:
			return nil, fmt.Errorf("entry %q is a hard link to %q, which is not a file", clip(e.Path), clip(e.Link))
		case target.Type != Hardlink:
			return target, nil
		}
		e = target
	}
	return nil, fmt.Errorf("entry %q: hard links lead in a circle", clip(e.Path))
}

// checkPath says whether a layer can hold an entry of this path.
func checkPath(path string) error {
	if path == "" {
		return nil
	}
	if len(path) > MaxPath {
		return fmt.Errorf("path %q has %d bytes, more than the %d that Linux allows", clip(path), len(path), MaxPath)
	}
	if strings.IndexByte(path, 0) >= 0 {
		return fmt.Errorf("path %q holds a zero byte", clip(path))
	}
	for rest, more := path, true; more; {
		var name string
		name, rest, more = strings.Cut(rest, "/")
		switch {
		case name == "" || name == "." || name == "..":
			return fmt.Errorf("path %q is not clean", clip(path))
		case len(name) > MaxName:
			return fmt.Errorf("path %q: a name of %d bytes, more than the %d that Linux allows", clip(path), len(name), MaxName)
		case strings.HasPrefix(name, whiteoutPrefix):
			return fmt.Errorf("path %q: names that begin with %q mean deletions in an image layer; rename the file", clip(path), whiteoutPrefix)
		}
	}
	return nil
}

// clip shortens a hostile string for an error message.
func clip(s string) string {
	if len(s) > 120 {
		return s[:80] + "…" + s[len(s)-30:]
	}
	return s
}
