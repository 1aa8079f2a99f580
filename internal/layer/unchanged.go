package layer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"

	"github.com/opencontainers/go-digest"
)

// DigestFunc reads the digest of the contents of a File entry whose Digest is not known.
type DigestFunc func(ctx context.Context, e *Entry) (digest.Digest, error)

// WithoutUnchanged is a table without what a layer on top of below need not hold, as in the layers of BuildKit's differ
// for overlayfs (sameDirent in util/overlay/overlay_linux.go): a path that is below with the same type, mode, owner,
// size, contents and time. Directories are compared without their time, and stay on the way of what stays.
//
// BuildKit does not read files whose times have nanoseconds; here contents always count. The names of one file, which
// are hard links of each other, stay or go together, so that they are still one file in the image. sum is asked only
// for files that are the same in all else.
func WithoutUnchanged(ctx context.Context, t *TOC, below Tree, sum DigestFunc) (*TOC, error) {
	c := &comparer{ctx: ctx, below: below, sum: sum, sameTime: func(string) (bool, error) { return true, nil }}
	kept, _, err := c.part(t.Entries)
	return &TOC{Entries: kept}, err
}

// EachChanged gives keep those entries, in canonical order, that WithoutUnchanged keeps. None of them is a hard link,
// and no directory opaque. An entry is valid during its call only. An error of keep ends it and is returned as it is.
func EachChanged(ctx context.Context, entries iter.Seq[*Entry], below Tree, sum DigestFunc, keep func(*Entry) error) error {
	c := &comparer{ctx: ctx, below: below, sum: sum, sameTime: func(string) (bool, error) { return true, nil }}
	return c.each(entries, keep, func(*Entry) {})
}

// each is EachChanged that also gives what is below already: of a directory, what it holds comes before it.
func (c *comparer) each(entries iter.Seq[*Entry], keep func(*Entry) error, drop func(*Entry)) error {
	var unchanged []Entry // directories that the next entry is in, and that stay only if something in them does
	leave := func(next string) {
		for n := len(unchanged); n > 0 && !Within(next, unchanged[n-1].Path); n-- {
			drop(&unchanged[n-1])
			unchanged = unchanged[:n-1]
		}
	}
	for e := range entries {
		leave(e.Path)
		var same bool
		var err error
		switch {
		case e.Type == Dir && e.Path != "":
			same, err = c.dir(e)
		case e.Type != Dir && e.Type != Whiteout && !c.keepFiles:
			same, err = c.file(e, e.Path)
		}
		switch {
		case err != nil:
			return err
		case same && e.Type == Dir:
			unchanged = append(unchanged, *e)
			continue
		case same:
			drop(e)
			continue
		}
		for i := range unchanged {
			if err := keep(&unchanged[i]); err != nil {
				return err
			}
		}
		unchanged = unchanged[:0]
		if err := keep(e); err != nil {
			return err
		}
	}
	leave("") // nothing is in the entries before the root
	return nil
}

// comparer finds the entries of a layer that are below already.
type comparer struct {
	ctx   context.Context
	below Tree
	sum   DigestFunc
	// sameTime compares the times of two files in the same second.
	sameTime  func(path string) (bool, error)
	keepFiles bool // only directories are left out
}

// part parts the entries of a TOC into those that a layer has to hold, and those that are below already; each in
// canonical order.
func (c *comparer) part(entries []*Entry) (kept, unchanged []*Entry, err error) {
	hidden := underOpaque(entries)
	same, err := c.files(entries, hidden)
	if err != nil {
		return nil, nil, err
	}
	// What a directory holds follows it: going backwards, it has been seen whether something of it stays.
	stays := make([]bool, len(entries))
	var next *Entry
	n := 0
	for i := len(entries) - 1; i >= 0; i-- {
		e := entries[i]
		if e.Type == Dir && e.Path != "" && !hidden[i] && (next == nil || !Within(next.Path, e.Path)) {
			if same[i], err = c.dir(e); err != nil {
				return nil, nil, err
			}
		}
		if stays[i] = !same[i]; stays[i] {
			next = e
			n++
		}
	}
	if n == len(entries) {
		return entries, nil, nil
	}
	kept = make([]*Entry, 0, n)
	for i, e := range entries {
		if stays[i] {
			kept = append(kept, e)
		} else {
			unchanged = append(unchanged, e)
		}
	}
	return kept, unchanged, nil
}

// underOpaque says which entries lie in an opaque directory, where nothing of below shows.
func underOpaque(entries []*Entry) []bool {
	hidden := make([]bool, len(entries))
	var opaque *Entry
	for i, e := range entries {
		if opaque != nil && Within(e.Path, opaque.Path) {
			hidden[i] = true
		} else if opaque = nil; e.Opaque {
			opaque = e
		}
	}
	return hidden
}

// files says of which entries, other than directories, below has the same.
func (c *comparer) files(entries []*Entry, hidden []bool) ([]bool, error) {
	same := make([]bool, len(entries))
	if c.keepFiles {
		return same, nil
	}
	links := map[string][]int{} // of the files with several names: the places of all names
	for i, e := range entries {
		if e.Type == Hardlink {
			links[e.Link] = append(links[e.Link], i)
		}
	}
	for i, e := range entries {
		if hidden[i] || e.Type == Dir || e.Type == Hardlink || e.Type == Whiteout {
			continue
		}
		ok, err := c.file(e, e.Path)
		if err != nil {
			return nil, err
		}
		if group := links[e.Path]; ok && len(group) > 0 {
			ok, err = c.group(e, entries, group, hidden)
			for _, j := range group {
				same[j] = ok
			}
		}
		if same[i] = ok; err != nil {
			return nil, err
		}
	}
	return same, nil
}

// group says whether the other names of a file are names of the same file below.
func (c *comparer) group(e *Entry, entries []*Entry, names []int, hidden []bool) (bool, error) {
	identities := c.below.Capabilities().Identities
	if identities == nil || slices.ContainsFunc(names, func(i int) bool { return hidden[i] }) {
		return false, nil
	}
	var id any
	for _, path := range append([]string{e.Path}, paths(entries, names)...) {
		ok, err := c.file(e, path)
		if !ok || err != nil {
			return false, err
		}
		there, err := c.below.Lookup(c.ctx, path)
		if err != nil {
			return false, err
		}
		ids, err := identities(c.ctx, Parent(path), []*Entry{there})
		if err != nil {
			return false, err
		}
		if len(ids) == 0 || ids[0] == nil || id != nil && ids[0] != id {
			return false, nil
		}
		id = ids[0]
	}
	return true, nil
}

func paths(entries []*Entry, at []int) []string {
	all := make([]string, len(at))
	for i, j := range at {
		all[i] = entries[j].Path
	}
	return all
}

// file says whether below has the same as e at a path.
func (c *comparer) file(e *Entry, path string) (bool, error) {
	there, err := c.lookup(path)
	if there == nil || err != nil {
		return false, err
	}
	now, before := *e, *there
	before.Xattrs = Built(before.Xattrs)
	if e.Type == Symlink {
		now.Mode, before.Mode = 0, 0 // it has no meaning
	}
	if now.Digest == "" || before.Digest == "" { // it is looked at last
		now.Digest = before.Digest
	}
	if Differences(&now, &before) != 0 {
		return false, nil
	}
	if ok, err := c.sameTime(path); !ok || err != nil {
		return false, err
	}
	if e.Type != File || e.Digest != "" && before.Digest != "" {
		return true, nil
	}
	if before.Digest, err = c.sumBelow(there); err != nil {
		return false, err
	}
	if e.Digest != "" {
		return e.Digest == before.Digest, nil
	}
	sum, err := c.sum(c.ctx, e)
	return sum == before.Digest, err
}

// sumBelow is the digest of a file of below.
func (c *comparer) sumBelow(e *Entry) (digest.Digest, error) {
	if e.Digest != "" {
		return e.Digest, nil
	}
	known := []*Entry{e}
	err := c.below.Sum(c.ctx, known)
	return known[0].Digest, err
}

// dir says whether below has the same directory.
func (c *comparer) dir(e *Entry) (bool, error) {
	if e.Opaque {
		return false, nil
	}
	there, err := c.lookup(e.Path)
	return there != nil && sameDir(e, there), err
}

// lookup is the entry of a path below; nil if there is none.
func (c *comparer) lookup(path string) (*Entry, error) {
	e, err := c.below.Lookup(c.ctx, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for %q in the layers below: %w", clip(path), err)
	}
	return e, nil
}
