package layer

import (
	"fmt"
	"io"
	"iter"
	"sort"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Packed is a table of contents as Encode wrote it: some 70 bytes an entry, where a TOC takes 250. An entry is decoded
// when it is asked for, and at most packedStep-1 of those before it. It can be used by several goroutines.
type Packed struct {
	encoded []byte   // entries
	starts  []uint32 // where every packedStep-th entry begins
	before  []string // the path of the entry before each of those
	n       int
	size    int64
}

var _ Table = (*Packed)(nil)

// packedStep is how many entries share a place from which they are decoded.
const packedStep = 16

// NewPacked is TOC.Decode of data, which it takes over.
func NewPacked(data []byte) (*Packed, error) {
	body, err := encodedBody(data)
	if err != nil {
		return nil, err
	}
	d := &decoder{data: body, bare: true}
	want := d.uint(MaxEntries)
	p := &Packed{encoded: d.data}
	links, pathBytes, last := false, 0, ""
	for len(d.data) > 0 && !d.bad {
		if p.n%packedStep == 0 {
			p.starts = append(p.starts, uint32(len(p.encoded)-len(d.data)))
			p.before = append(p.before, strings.Clone(last))
		}
		var e Entry
		if d.entry(&e); d.bad {
			break
		}
		if pathBytes += len(e.Path); pathBytes > maxPathBytes {
			return nil, fmt.Errorf("%w: its paths are too long", errTOC)
		}
		if p.n > 0 && Compare(last, e.Path) >= 0 {
			return nil, fmt.Errorf("%w: entry %q is out of order", errTOC, clip(e.Path))
		}
		if err := e.check(); err != nil {
			return nil, fmt.Errorf("%w: %w", errTOC, err)
		}
		if err := e.checkWhiteout(); err != nil {
			return nil, err
		}
		links = links || e.Type == Hardlink
		if e.Type == File {
			p.size += e.Size
		}
		last = e.Path
		p.n++
	}
	switch {
	case d.bad || uint64(p.n) < want:
		return nil, fmt.Errorf("%w: it ends in the middle of an entry", errTOC)
	case uint64(p.n) > want:
		return nil, fmt.Errorf("%w: it has more entries than it says", errTOC)
	}
	if links {
		err = p.checkLinks()
	}
	return p, err
}

// checkLinks looks where hard links lead.
func (p *Packed) checkLinks() error {
	c := p.cursor()
	for e := range p.All() {
		if e.Type != Hardlink {
			continue
		}
		i := p.find(e.Link, c)
		if i == p.n {
			return fmt.Errorf("%w: hard link %q leads to no file", errTOC, clip(e.Path))
		}
		target := c.peek(i)
		if target.Path != e.Link || target.Type == Hardlink || target.Type == Dir || target.Type == Whiteout {
			return fmt.Errorf("%w: hard link %q leads to no file", errTOC, clip(e.Path))
		}
		if err := e.checkLink(target); err != nil {
			return err
		}
	}
	return nil
}

// Len implements Table.
func (p *Packed) Len() int { return p.n }

// Size implements Table.
func (p *Packed) Size() int64 { return p.size }

// Err implements Table: all is in memory.
func (p *Packed) Err() error { return nil }

// All implements Table.
func (p *Packed) All() iter.Seq[*Entry] {
	return entriesIn(func(yield func([]byte) bool) { yield(p.encoded) })
}

// ContentID implements Table.
func (p *Packed) ContentID() digest.Digest { return contentID(p.All()) }

// Encode implements Table.
func (p *Packed) Encode(w io.Writer) error { return encode(w, p) }

// Lookup returns the entry of a path, nil if there is none.
func (p *Packed) Lookup(path string) *Entry {
	c := p.cursor()
	if i := p.find(path, c); i < p.n && c.peek(i).Path == path {
		return c.entry(i)
	}
	return nil
}

// find returns the index of a path's entry, or the one at which it would be.
func (p *Packed) find(path string, c tableReader) int {
	block := sort.Search(len(p.before), func(i int) bool { return i > 0 && Compare(p.before[i], path) >= 0 }) - 1
	for i := max(block, 0) * packedStep; i < p.n; i++ {
		if Compare(c.peek(i).Path, path) >= 0 {
			return i
		}
	}
	return p.n
}

// tableReader gives the entries of a table by their places, which costs least in their order. It is for one goroutine.
type tableReader interface {
	// entry is that at a place, which stays as it is.
	entry(i int) *Entry
	// peek is entry for the moment, until the reader is asked again, and without a digest.
	peek(i int) *Entry
}

// packedCursor decodes entries of a Packed, each from where it is if that is less to do than from the place before it.
type packedCursor struct {
	p    *Packed
	d    decoder
	next int    // the place of the entry that d decodes next
	last Entry  // the one before it, without a digest and, unless it was asked for, without a path
	from []byte // where that one begins; nil if none was decoded
}

func (p *Packed) cursor() tableReader {
	return &packedCursor{p: p, d: decoder{bare: true, share: 256}, next: -1}
}

// to has the entry at a place decoded next.
func (c *packedCursor) to(i int) {
	block := i / packedStep
	switch {
	case i == c.next-1 && c.from != nil: // its path begins as the path before it does
		c.next, c.d.data = i, c.from
	case i < c.next || c.next < 0 || block > c.next/packedStep:
		c.next = block * packedStep
		c.d.data, c.d.path = c.p.encoded[c.p.starts[block]:], append(c.d.path[:0], c.p.before[block]...)
	}
	for ; c.next < i; c.next++ {
		c.last = Entry{}
		c.d.attributes(&c.last)
	}
	c.from = c.d.data
}

func (c *packedCursor) entry(i int) *Entry {
	c.to(i)
	e := &Entry{}
	c.d.bare = false
	c.d.entry(e)
	c.d.bare = true
	c.next, c.last = i+1, Entry{} // which is not e, since who asked has that
	return e
}

func (c *packedCursor) peek(i int) *Entry {
	if i == c.next-1 && c.last.Type != 0 {
		if c.last.Path == "" {
			c.last.Path = c.d.keep(c.d.path)
		}
		return &c.last
	}
	c.to(i)
	c.last = Entry{}
	c.d.entry(&c.last)
	c.next++
	return &c.last
}
