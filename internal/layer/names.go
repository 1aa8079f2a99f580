package layer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
)

// names are the entries that come together from a tar, in whatever order, by their paths. An entry is a record of some
// 70 bytes among others, and a slot, which its path keeps: 12 bytes more, and not a pointer for the collector in all
// that. A map of Entries takes 400 bytes for each. A record has its own name only, and the slot of the directory that
// it is in.
//
// A record is its type, its flags, of a file room for its digest and its offset, the slot of the directory, the name,
// and what appendAttributes writes.
type names struct {
	pieces [][]byte // of whole records
	slots  []uint32 // where each one's record is: the piece, and 16 bits for the place in it; the root comes first
	table  []uint32 // slots by the hash of directory and name; 0 is none. The root is not in it
	seed   maphash.Seed
	n      int // entries that are there
	puts   int // how often one was set; the records of those that were replaced stay

	dir     string // the directory whose slot was looked for last
	dirSlot uint32

	spare []byte // for a record that is made
}

// noSlot is that of a path that never had an entry.
const noSlot = ^uint32(0)

// The flags of a record.
const (
	flagOpaque  = 1 << iota
	flagGone    // there is no entry at the path any more, or not yet
	flagSummed  // the digest is known
	flagImplied // of a directory: no header has named it
	flagAnew    // of a directory: it took the place of something else
)

// Places in a record.
const (
	typeAt   = 0
	flagsAt  = 1
	digestAt = 2
	offsetAt = digestAt + 32
	fileHead = offsetAt + 8 // bytes before the slot of the directory, of a file
	head     = 2            // of others
)

// pieceBits is how many bits say where in a piece a record is.
const pieceBits = 16

// maxPuts bounds how often an entry may be set: as often as that can be of a tar that has each path once, whose
// directories may have been implied before, and whose hard links are moved.
const maxPuts = 2*MaxEntries + maxMoved

var errManyNames = errors.New("its names and attributes take more memory than strata accepts")

func newNames() *names {
	n := &names{seed: maphash.MakeSeed(), table: make([]uint32, 64)}
	n.slots = append(n.slots, n.keep([]byte{byte(Dir), flagGone, 0, 0})) // the root: in itself, and without a name
	return n
}

// keep copies a record to where it stays.
func (n *names) keep(record []byte) uint32 {
	last := len(n.pieces) - 1
	if last < 0 || cap(n.pieces[last])-len(n.pieces[last]) < len(record) {
		size := 4 << 10
		if last >= 0 {
			size = min(1<<pieceBits, 2*cap(n.pieces[last]))
		}
		n.pieces = append(n.pieces, make([]byte, 0, max(size, len(record))))
		last++
	}
	place := uint32(last)<<pieceBits | uint32(len(n.pieces[last]))
	n.pieces[last] = append(n.pieces[last], record...)
	return place
}

// record is the record of a slot, and what follows it.
func (n *names) record(slot uint32) []byte {
	place := n.slots[slot]
	return n.pieces[place>>pieceBits][place&(1<<pieceBits-1):]
}

// placed reads of a record in which directory it is, its name, and what follows them.
func placed(record []byte) (dir uint32, name, rest []byte) {
	at := head
	if Type(record[typeAt]) == File {
		at = fileHead
	}
	d, used := binary.Uvarint(record[at:])
	at += used
	length, used := binary.Uvarint(record[at:])
	at += used
	return uint32(d), record[at : at+int(length)], record[at+int(length):]
}

// child looks for a name in a directory: its slot, or where in the table one would be.
func (n *names) child(dir uint32, name string) (slot uint32, at int) {
	mask := len(n.table) - 1
	for at = int(n.hash(dir, name)) & mask; n.table[at] != 0; at = (at + 1) & mask {
		slot := n.table[at]
		if d, have, _ := placed(n.record(slot)); d == dir && string(have) == name {
			return slot, at
		}
	}
	return noSlot, at
}

func (n *names) hash(dir uint32, name string) uint64 {
	return maphash.String(n.seed, name) ^ uint64(dir)*0x9e3779b97f4a7c15>>20
}

// slot is that of a path.
func (n *names) slot(path string) uint32 {
	if path == "" {
		return 0
	}
	dir, name := splitPath(path)
	if dir != n.dir {
		at := n.slot(dir)
		if at == noSlot {
			return noSlot
		}
		n.dir, n.dirSlot = dir, at
	}
	at := n.dirSlot
	if dir == "" {
		at = 0
	}
	slot, _ := n.child(at, name)
	return slot
}

// splitPath gives the directory that a path is in, and its name there.
func splitPath(path string) (dir, name string) {
	if dir = Parent(path); dir == "" {
		return "", path
	}
	return dir, path[len(dir)+1:]
}

// ensure is slot of a path that gets one, without an entry, if it has none.
func (n *names) ensure(path string) uint32 {
	if slot := n.slot(path); slot != noSlot {
		return slot
	}
	dir, name := splitPath(path)
	in := n.ensure(dir)
	n.spare = append(n.spare[:0], byte(Dir), flagGone)
	n.spare = appendString(binary.AppendUvarint(n.spare, uint64(in)), name)
	slot := uint32(len(n.slots))
	n.slots = append(n.slots, n.keep(n.spare))
	if len(n.slots)*4 > len(n.table)*3 {
		n.grow()
	} else {
		_, at := n.child(in, name)
		n.table[at] = slot
	}
	return slot
}

// grow makes a table of twice the size.
func (n *names) grow() {
	n.table = make([]uint32, 2*len(n.table))
	mask := len(n.table) - 1
	for slot := 1; slot < len(n.slots); slot++ {
		dir, name, _ := placed(n.record(uint32(slot)))
		at := int(n.hash(dir, string(name))) & mask
		for n.table[at] != 0 {
			at = (at + 1) & mask
		}
		n.table[at] = uint32(slot)
	}
}

// has says whether a slot has an entry.
func (n *names) has(slot uint32) bool {
	return slot != noSlot && n.record(slot)[flagsAt]&flagGone == 0
}

// is says whether a slot has an entry of a type.
func (n *names) is(slot uint32, t Type) bool { return n.has(slot) && n.kind(slot) == t }

// naming says how the entry of a slot was named.
func (n *names) naming(slot uint32) Naming {
	switch flags := n.record(slot)[flagsAt]; {
	case flags&flagImplied != 0:
		return Implied
	case flags&flagAnew != 0:
		return Anew
	}
	return Named
}

// kind is the type of the entry that a slot has, or had last.
func (n *names) kind(slot uint32) Type { return Type(n.record(slot)[typeAt]) }

// get is a copy of the entry of a path, nil if there is none.
func (n *names) get(path string) *Entry {
	slot := n.slot(path)
	if !n.has(slot) {
		return nil
	}
	return n.entry(slot, path)
}

// put sets the entry of its path.
func (n *names) put(e *Entry) error {
	if n.puts++; n.puts > maxPuts {
		return fmt.Errorf("it sets names again until there are more than the %d entries that strata accepts", maxPuts)
	}
	slot, target := n.ensure(e.Path), noSlot
	if e.Type == Hardlink {
		target = n.ensure(e.Link)
	}
	if !n.has(slot) {
		n.n++
	}
	dir, name, _ := placed(n.record(slot))
	flags := byte(0)
	if e.Opaque {
		flags |= flagOpaque
	}
	b := append(n.spare[:0], byte(e.Type), flags)
	if e.Type == File {
		b = append(b, make([]byte, fileHead-head)...)
	}
	b = binary.AppendUvarint(b, uint64(dir))
	b = append(binary.AppendUvarint(b, uint64(len(name))), name...)
	n.spare = appendAttributes(b, e, target)
	place := n.keep(n.spare)
	if len(n.pieces) > 1<<pieceBits {
		return errManyNames
	}
	n.slots[slot] = place
	if e.Type == File {
		n.describe(slot, e)
	}
	return nil
}

// putDirAgain is put of a directory at whose path one is.
func (n *names) putDirAgain(e *Entry) error {
	slot := n.slot(e.Path)
	anew := n.record(slot)[flagsAt] & flagAnew
	if err := n.put(e); err != nil {
		return err
	}
	n.set(slot, anew)
	return nil
}

// appendAttributes encodes what is not at the front of a record; target is the slot that a hard link leads to.
func appendAttributes(b []byte, e *Entry, target uint32) []byte {
	b = binary.AppendUvarint(b, uint64(e.Mode))
	b = binary.AppendUvarint(b, uint64(e.UID))
	b = binary.AppendUvarint(b, uint64(e.GID))
	b = binary.AppendVarint(b, e.ModTime)
	switch e.Type {
	case File:
		b = binary.AppendUvarint(b, uint64(e.Size))
	case Symlink:
		b = appendString(b, e.Link)
	case Hardlink:
		b = binary.AppendUvarint(b, uint64(target))
	case Char, Block:
		b = binary.AppendUvarint(b, uint64(e.Major))
		b = binary.AppendUvarint(b, uint64(e.Minor))
	}
	b = binary.AppendUvarint(b, uint64(len(e.Xattrs)))
	for _, x := range e.Xattrs {
		b = appendString(appendString(b, x.Name), x.Value)
	}
	return b
}

// describe notes the digest and the offset of a file whose entry was put without them.
func (n *names) describe(slot uint32, e *Entry) {
	record := n.record(slot)
	var room [1 + 32]byte
	if d := appendDigest(room[:0], e.Digest); d[0] == 1 {
		copy(record[digestAt:offsetAt], d[1:])
		record[flagsAt] |= flagSummed
	}
	binary.LittleEndian.PutUint64(record[offsetAt:], uint64(e.Offset))
}

// set sets flags of a slot.
func (n *names) set(slot uint32, flags byte) { n.record(slot)[flagsAt] |= flags }

// delete takes the entry of a slot away.
func (n *names) delete(slot uint32) {
	if n.has(slot) {
		n.n--
		n.set(slot, flagGone)
	}
}

// within are the slots with entries that are somewhere in the directory dir.
func (n *names) within(dir uint32) []uint32 {
	inside := make([]bool, len(n.slots)) // a directory has its slot before what is in it
	var all []uint32
	for i := range n.slots[1:] {
		slot := uint32(i) + 1
		parent, _, _ := placed(n.record(slot))
		if inside[slot] = parent == dir || inside[parent]; inside[slot] && n.has(slot) {
			all = append(all, slot)
		}
	}
	return all
}

// path is that of a slot.
func (n *names) path(slot uint32) string {
	if slot == 0 {
		return ""
	}
	dir, name, _ := placed(n.record(slot))
	return join(n.path(dir), string(name))
}

// entry is a copy of a slot's entry, whose path is known.
func (n *names) entry(slot uint32, path string) *Entry {
	e := &Entry{Path: path}
	n.decode(slot, e, &decoder{})
	if e.Type == Hardlink {
		e.Link = n.path(n.target(slot))
	}
	return e
}

// decode fills in all of an entry but its path and the target of a hard link. The decoder only keeps strings.
func (n *names) decode(slot uint32, e *Entry, d *decoder) {
	record := n.record(slot)
	e.Type, e.Opaque = Type(record[typeAt]), record[flagsAt]&flagOpaque != 0
	_, _, d.data = placed(record)
	e.Mode = uint32(d.uint(0o7777))
	e.UID, e.GID = int(d.uint(1<<32-2)), int(d.uint(1<<32-2))
	e.ModTime = d.int()
	switch e.Type {
	case File:
		e.Size = int64(d.uint(1<<63 - 1))
		if e.Offset = int64(binary.LittleEndian.Uint64(record[offsetAt:])); record[flagsAt]&flagSummed != 0 {
			e.Digest = d.keepDigest(record[digestAt:offsetAt])
		}
	case Symlink:
		e.Link = string(d.bytes(MaxPath))
	case Hardlink:
		d.uint(1<<32 - 1)
	case Char, Block:
		e.Major, e.Minor = uint32(d.uint(1<<32-1)), uint32(d.uint(1<<32-1))
	}
	for range d.uint(maxMetadata) {
		e.Xattrs = append(e.Xattrs, Xattr{Name: string(d.bytes(maxXattrs)), Value: string(d.bytes(maxXattrs))})
	}
}

// target is the slot that a hard link leads to; noSlot of other entries.
func (n *names) target(slot uint32) uint32 {
	record := n.record(slot)
	if Type(record[typeAt]) != Hardlink {
		return noSlot
	}
	d := decoder{}
	_, _, d.data = placed(record)
	for range 3 {
		d.uint(1<<63 - 1)
	}
	d.int()
	return uint32(d.uint(1<<32 - 1))
}
