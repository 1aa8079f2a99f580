package chunked

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// FlatBuffers, as far as a zTOC needs them (flatbuffers.dev, "Internals"): a table is found by an offset, and begins
// with how far before it its vtable is. The vtable has, after its own size and the table's, an offset in the table
// for each field; 0, or a vtable that ends before, is a field that is not there. All numbers are little-endian.

// flatbuffer is a buffer that anybody may have written. What is read of it is inside of it, and after the first mistake
// all that is read is empty.
type flatbuffer struct {
	data []byte
	// left is how many bytes of strings and vectors may still be read. What is written as the format's builders do says
	// no byte twice; without this, a small buffer could stand for any amount of memory.
	left int
	err  error
}

func newFlatbuffer(data []byte) *flatbuffer { return &flatbuffer{data: data, left: len(data)} }

// fail notes a mistake.
func (b *flatbuffer) fail(what string, args ...any) {
	if b.err == nil {
		b.err = fmt.Errorf(what, args...)
	}
}

// bytes are n bytes at a place; nil with a mistake.
func (b *flatbuffer) bytes(at, n int64) []byte {
	if b.err != nil {
		return nil
	}
	if at < 0 || n < 0 || at > int64(len(b.data)) || n > int64(len(b.data))-at {
		b.fail("%d bytes at %d of %d are meant", n, at, len(b.data))
		return nil
	}
	return b.data[at : at+n]
}

func (b *flatbuffer) uint16(at int64) int64 {
	if p := b.bytes(at, 2); p != nil {
		return int64(binary.LittleEndian.Uint16(p))
	}
	return 0
}

func (b *flatbuffer) uint32(at int64) int64 {
	if p := b.bytes(at, 4); p != nil {
		return int64(binary.LittleEndian.Uint32(p))
	}
	return 0
}

// root is the table that the buffer is for.
func (b *flatbuffer) root() flattable { return b.table(0) }

// table is one that an offset at a place means.
func (b *flatbuffer) table(at int64) flattable {
	t := flattable{b: b, at: at + b.uint32(at)}
	if p := b.bytes(t.at, 4); p != nil {
		t.vtable = t.at - int64(int32(binary.LittleEndian.Uint32(p)))
		t.fields = (b.uint16(t.vtable) - 4) / 2
	}
	return t
}

// flattable is a table of a flatbuffer.
type flattable struct {
	b          *flatbuffer
	at, vtable int64
	fields     int64
}

// field is where a field is, by its number in the schema; 0 for one that is not there.
func (t flattable) field(i int64) int64 {
	if i >= t.fields || t.b.err != nil {
		return 0
	}
	if offset := t.b.uint16(t.vtable + 4 + 2*i); offset != 0 {
		return t.at + offset
	}
	return 0
}

// int64 is a field of eight bytes; 0 where it is not there.
func (t flattable) int64(i int64) int64 {
	at := t.field(i)
	if at == 0 {
		return 0
	}
	if p := t.b.bytes(at, 8); p != nil {
		return int64(binary.LittleEndian.Uint64(p))
	}
	return 0
}

// uint32 is a field of four bytes; 0 where it is not there.
func (t flattable) uint32(i int64) int64 {
	if at := t.field(i); at != 0 {
		return t.b.uint32(at)
	}
	return 0
}

// byte is a field of one byte, or what it is where it is not there.
func (t flattable) byte(i int64, otherwise byte) byte {
	at := t.field(i)
	if at == 0 {
		return otherwise
	}
	if p := t.b.bytes(at, 1); p != nil {
		return p[0]
	}
	return otherwise
}

// table is a field that is a table; one without fields where it is not there.
func (t flattable) table(i int64) flattable {
	if at := t.field(i); at != 0 {
		return t.b.table(at)
	}
	return flattable{b: t.b}
}

// vector is where the elements of a field begin, each of size bytes, and how many there are.
func (t flattable) vector(i, size int64) (at, n int64) {
	field := t.field(i)
	if field == 0 {
		return 0, 0
	}
	at = field + t.b.uint32(field)
	n = t.b.uint32(at)
	if t.b.err == nil && n*size > int64(t.b.left) {
		t.b.fail("it says something twice, or more than it has")
	}
	if t.b.bytes(at+4, n*size) == nil {
		return 0, 0
	}
	t.b.left -= int(n * size)
	return at + 4, n
}

// vectorOfBytes is a field that is a vector of bytes. They are the buffer's own.
func (t flattable) vectorOfBytes(i int64) []byte {
	at, n := t.vector(i, 1)
	return t.b.bytes(at, n)
}

// string is a field that is text, or any other bytes.
func (t flattable) string(i int64) string { return string(t.vectorOfBytes(i)) }

// tables are the tables of a field that is a vector of them; no more than most.
func (t flattable) tables(i, most int64) []flattable {
	at, n := t.vector(i, 4)
	if n > most {
		t.b.fail("it has %d entries, more than the %d that are read", n, most)
		return nil
	}
	all := make([]flattable, 0, n)
	for k := range n {
		all = append(all, t.b.table(at+4*k))
	}
	return all
}

// strings are those of a field that is a vector of them; no more than most.
func (t flattable) strings(i, most int64) []string {
	at, n := t.vector(i, 4)
	if n > most {
		t.b.fail("it has %d entries, more than the %d that are read", n, most)
		return nil
	}
	all := make([]string, 0, n)
	for k := range n {
		place := at + 4*k
		start := place + t.b.uint32(place)
		size := t.b.uint32(start)
		if t.b.left -= int(size); t.b.left < 0 {
			t.b.fail("it says something twice, or more than it has")
		}
		if t.b.err != nil {
			return nil
		}
		all = append(all, string(t.b.bytes(start+4, size)))
	}
	return all
}

// check is the first mistake.
func (b *flatbuffer) check() error {
	if b.err != nil {
		return errors.New("it is no table of the format: " + b.err.Error())
	}
	return nil
}
