package layer

import (
	"iter"
	"slices"
	"strings"
)

// Attributes is a set of what entries have beside their path.
type Attributes uint8

// The attributes of an entry.
const (
	AttrType    Attributes = 1 << iota // a file became a directory, or the like
	AttrContent                        // size and digest of a file; the numbers of a device
	AttrLink                           // where a symbolic or hard link leads
	AttrMode
	AttrOwner
	AttrXattrs
	AttrTime
	AttrOpaque // of a directory
)

// Has says whether any of some attributes are in the set.
func (a Attributes) Has(any Attributes) bool { return a&any != 0 }

// String lists the attributes: "content, mode".
func (a Attributes) String() string {
	var words []string
	for i, name := range []string{"type", "content", "link", "mode", "owner", "attributes", "time", "opaque"} {
		if a&(1<<i) != 0 {
			words = append(words, name)
		}
	}
	return strings.Join(words, ", ")
}

// Differences says in which attributes two entries differ, 0 for none. Their paths and offsets do not count. Of
// entries of two types neither content nor link is compared. Contents are equal where sizes and digests are, so two
// files of one size whose digests are both not known are taken as equal.
func Differences(a, b *Entry) Attributes {
	var d Attributes
	add := func(attr Attributes, differs bool) {
		if differs {
			d |= attr
		}
	}
	if a.Type != b.Type {
		d = AttrType
	} else {
		add(AttrContent, a.Size != b.Size || a.Digest != b.Digest || a.Major != b.Major || a.Minor != b.Minor)
		add(AttrLink, a.Link != b.Link)
	}
	add(AttrMode, a.Mode != b.Mode)
	add(AttrOwner, a.UID != b.UID || a.GID != b.GID)
	add(AttrXattrs, !slices.Equal(a.Xattrs, b.Xattrs))
	add(AttrTime, a.ModTime != b.ModTime)
	add(AttrOpaque, a.Opaque != b.Opaque)
	return d
}

// MergeTOCs gives the entries of two tables path by path, in canonical order. The entry of a table that lacks the path
// is nil.
func MergeTOCs(a, b *TOC) iter.Seq2[*Entry, *Entry] {
	return MergeSorted(a.Entries, b.Entries, nil, func(x, y *Entry) int { return Compare(x.Path, y.Path) })
}

// MergeEach calls fn with the entries of two tables path by path, as MergeTOCs gives them. a and b give the entries one
// after the other, and nil behind the last; what fn gets is valid during its call only. An error of any ends it.
func MergeEach(a, b func() (*Entry, error), fn func(x, y *Entry) error) error {
	x, err := a()
	if err != nil {
		return err
	}
	y, err := b()
	for err == nil && (x != nil || y != nil) {
		c := 0
		switch {
		case x == nil:
			c = 1
		case y == nil:
			c = -1
		default:
			c = Compare(x.Path, y.Path)
		}
		switch {
		case c < 0:
			err = fn(x, nil)
		case c > 0:
			err = fn(nil, y)
		default:
			err = fn(x, y)
		}
		if c <= 0 && err == nil {
			x, err = a()
		}
		if c >= 0 && err == nil {
			y, err = b()
		}
	}
	return err
}

// Each gives the entries of the table one after the other, and nil behind the last.
func (t *TOC) Each() func() (*Entry, error) {
	i := 0
	return func() (*Entry, error) {
		if i == len(t.Entries) {
			return nil, nil
		}
		i++
		return t.Entries[i-1], nil
	}
}

// MergeSorted gives the elements of two sorted lists in their common order: those that order finds equal as a pair,
// each other one with none in the place of its counterpart.
func MergeSorted[E any](a, b []E, none E, order func(a, b E) int) iter.Seq2[E, E] {
	return func(yield func(E, E) bool) {
		a, b := a, b
		for len(a) > 0 || len(b) > 0 {
			c := 0
			switch {
			case len(a) == 0:
				c = 1
			case len(b) == 0:
				c = -1
			default:
				c = order(a[0], b[0])
			}
			x, y := none, none
			if c <= 0 {
				x, a = a[0], a[1:]
			}
			if c >= 0 {
				y, b = b[0], b[1:]
			}
			if !yield(x, y) {
				return
			}
		}
	}
}
