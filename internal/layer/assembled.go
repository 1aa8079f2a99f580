package layer

import (
	"bytes"
	"io"
	"iter"
	"slices"

	"github.com/opencontainers/go-digest"
)

// Assembled is a table of contents of what came together from a tar, in whatever order: some 90 bytes an entry, of
// which each is made when it is asked for. It is what NewTOC makes of the same entries. Marks in an opaque directory
// are left out: nothing of below shows there that they could hide, and Diff does not give them either.
type Assembled struct {
	names *names
	// The slots of those in the directory of slot s are inside[starts[s]:starts[s+1]], in the order of their names.
	starts, inside []uint32
	first          map[uint32]uint32 // of a file with hard links: its slot → that of its first name
	n              int
	size           int64
	sparse         bool
}

var _ Table = (*Assembled)(nil)

func newAssembled(n *names) *Assembled {
	t := &Assembled{names: n}
	n.table = nil // nobody looks for a path any more
	t.sort()
	t.findFirst()
	for e := range t.All() {
		t.n++
		if e.Type == File {
			t.size += e.Size
			t.sparse = t.sparse || e.Offset < 0
		}
	}
	return t
}

// sort finds out what is in which directory.
func (t *Assembled) sort() {
	n := t.names
	t.starts, t.inside = make([]uint32, len(n.slots)+1), make([]uint32, len(n.slots)-1)
	for slot := 1; slot < len(n.slots); slot++ {
		dir, _, _ := placed(n.record(uint32(slot)))
		t.starts[dir+1]++
	}
	for i := 1; i < len(t.starts); i++ {
		t.starts[i] += t.starts[i-1]
	}
	for slot := 1; slot < len(n.slots); slot++ { // starts[dir] becomes where the next one of dir goes
		dir, _, _ := placed(n.record(uint32(slot)))
		t.inside[t.starts[dir]] = uint32(slot)
		t.starts[dir]++
	}
	copy(t.starts[1:], t.starts)
	t.starts[0] = 0
	byName := func(a, b uint32) int {
		_, x, _ := placed(n.record(a))
		_, y, _ := placed(n.record(b))
		return bytes.Compare(x, y)
	}
	for slot := range n.slots {
		in := t.inside[t.starts[slot]:t.starts[slot+1]]
		if !slices.IsSortedFunc(in, byName) {
			slices.SortFunc(in, byName)
		}
	}
}

// findFirst finds the first names of files that have several.
func (t *Assembled) findFirst() {
	t.first = map[uint32]uint32{}
	for slot := range t.names.slots {
		if slot := uint32(slot); t.names.is(slot, Hardlink) {
			t.first[t.names.target(slot)] = noSlot
		}
	}
	if len(t.first) == 0 {
		return
	}
	for slot := range t.walk() {
		file := slot
		if t.names.is(slot, Hardlink) {
			file = t.names.target(slot)
		}
		if first, ok := t.first[file]; ok && first == noSlot {
			t.first[file] = slot
		}
	}
}

// walk gives the slots with entries in canonical order, and their paths, each of which is valid until the next one.
func (t *Assembled) walk() iter.Seq2[uint32, []byte] {
	return func(yield func(uint32, []byte) bool) {
		n := t.names
		if n.has(0) && !yield(0, nil) {
			return
		}
		type dir struct {
			next, end uint32 // of what is in it
			path      int    // length of its path
		}
		path := make([]byte, 0, MaxPath)
		open := []dir{{t.starts[0], t.starts[1], 0}}
		for len(open) > 0 {
			in := &open[len(open)-1]
			if in.next == in.end {
				open = open[:len(open)-1]
				continue
			}
			slot := t.inside[in.next]
			in.next++
			if path = path[:in.path]; in.path > 0 {
				path = append(path, '/')
			}
			_, name, _ := placed(n.record(slot))
			path = append(path, name...)
			if n.has(slot) && !yield(slot, path) {
				return
			}
			if from, to := t.starts[slot], t.starts[slot+1]; from < to {
				open = append(open, dir{from, to, len(path)})
			}
		}
	}
}

// All implements Table.
func (t *Assembled) All() iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		for e := range t.Named() {
			if !yield(e) {
				return
			}
		}
	}
}

// Naming says how the headers of a tar came to an entry.
type Naming byte

const (
	Named   Naming = iota // a header has its path
	Implied               // a directory that is there for what is in it only
	Anew                  // a directory that took the place of something else in the same tar
)

// Named is All that also says how a header named the entry.
func (t *Assembled) Named() iter.Seq2[*Entry, Naming] {
	return func(yield func(*Entry, Naming) bool) {
		var opaque []byte // the outermost directory that is, among those that the next entry is in
		hides := false    // there is one
		e, d := new(Entry), &decoder{}
		for slot, path := range t.walk() {
			if hides && !withinBytes(path, opaque) {
				hides = false
			}
			if hides && t.names.kind(slot) == Whiteout {
				continue
			}
			*e = Entry{Path: d.keepFrom(path, window)}
			t.fill(slot, e, d)
			switch {
			case hides:
				e.Opaque = false
			case e.Opaque:
				opaque, hides = append(opaque[:0], path...), true
			}
			if !yield(e, t.names.naming(slot)) {
				return
			}
		}
	}
}

// withinBytes is Within.
func withinBytes(path, dir []byte) bool {
	return len(dir) == 0 || len(path) > len(dir) && path[len(dir)] == '/' && bytes.HasPrefix(path, dir)
}

// fill fills in all of an entry but its path. Of a file with several names the first is the File, and all others are
// hard links to it.
func (t *Assembled) fill(slot uint32, e *Entry, d *decoder) {
	n := t.names
	file := slot
	link := n.kind(slot) == Hardlink
	if link {
		file = n.target(slot)
	}
	first, shared := t.first[file]
	switch {
	case shared && first != slot:
		n.decode(file, e, d)
		*e = Entry{
			Path: e.Path, Type: Hardlink, Link: n.path(first),
			Mode: e.Mode, UID: e.UID, GID: e.GID, ModTime: e.ModTime,
		}
	case shared:
		n.decode(file, e, d)
	default:
		if n.decode(slot, e, d); link {
			e.Link = n.path(file)
		}
	}
}

// asInTar are the entries with hard links as they are in the tar: of names of a file, any can be the File.
func (t *Assembled) asInTar() iter.Seq[*Entry] {
	plain := *t
	plain.first = nil
	return plain.All()
}

// Len implements Table.
func (t *Assembled) Len() int { return t.n }

// Size implements Table.
func (t *Assembled) Size() int64 { return t.size }

// Sparse says whether a file is not in one piece in the tar: its Offset is -1.
func (t *Assembled) Sparse() bool { return t.sparse }

// Err implements Table: all is in memory.
func (t *Assembled) Err() error { return nil }

// ContentID implements Table.
func (t *Assembled) ContentID() digest.Digest { return contentID(t.All()) }

// Encode implements Table.
func (t *Assembled) Encode(w io.Writer) error { return encode(w, t) }

// TOC is the same table with all its entries in memory at once.
func (t *Assembled) TOC() (*TOC, error) {
	entries := make([]*Entry, 0, t.n)
	for e := range t.All() {
		copied := *e
		entries = append(entries, &copied)
	}
	return NewTOC(entries)
}
