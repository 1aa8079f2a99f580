// Package ztoctest makes zTOCs of layers, for tests of who reads them. It is simple, and slow: strata itself makes
// none.
package ztoctest

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// windowSize is what comes before a checkpoint, in bytes.
const windowSize = 32 << 10

// Make makes the zTOC of a layer that is one gzip member, with checkpoints that are more than span bytes apart. Of an
// uncompressed tar it makes one with spans of that size.
func Make(blob []byte, span int) ([]byte, error) {
	if !bytes.HasPrefix(blob, []byte{0x1f, 0x8b}) {
		return makePlain(blob, span)
	}
	start, err := headerSize(blob)
	if err != nil {
		return nil, err
	}
	f := &inflater{in: blob, bit: 8 * start}
	if err := f.run(); err != nil {
		return nil, err
	}
	points := []block{{bit: 8 * start}}
	for _, b := range f.blocks {
		if b.out-points[len(points)-1].out > span {
			points = append(points, b)
		}
	}
	checkpoints := binary.LittleEndian.AppendUint32(nil, uint32(len(points)))
	checkpoints = binary.LittleEndian.AppendUint64(checkpoints, uint64(span))
	var digests []string
	for i, p := range points {
		in, bits := (p.bit+7)/8, -p.bit&7
		checkpoints = binary.LittleEndian.AppendUint64(checkpoints, uint64(in))
		checkpoints = binary.LittleEndian.AppendUint64(checkpoints, uint64(p.out))
		checkpoints = append(checkpoints, byte(bits))
		window := make([]byte, windowSize)
		before := f.out[max(0, p.out-windowSize):p.out]
		copy(window[windowSize-len(before):], before)
		checkpoints = append(checkpoints, window...)
		from, to := in-min(bits, 1), len(blob)
		if i+1 < len(points) {
			to = (points[i+1].bit + 7) / 8
		}
		digests = append(digests, digest.FromBytes(blob[from:to]).String())
	}
	return write(blob, f.out, 1, digests, checkpoints)
}

// WithOtherDigests is a zTOC whose spans have digests that they do not have.
func WithOtherDigests(table []byte) []byte {
	digests := regexp.MustCompile("sha256:[0-9a-f]{60}")
	return digests.ReplaceAll(table, []byte("sha256:"+strings.Repeat("0", 60)))
}

// headerSize is the length of a gzip member's header (RFC 1952, 2.3).
func headerSize(blob []byte) (int, error) {
	const extra, name, comment, check = 4, 8, 16, 2
	if len(blob) < 18 {
		return 0, errors.New("it is no gzip member")
	}
	flags, at := blob[3], 10
	if flags&extra != 0 {
		at += 2 + int(blob[at]) + int(blob[at+1])<<8
	}
	for _, flag := range []byte{name, comment} {
		if flags&flag != 0 && at < len(blob) {
			at += bytes.IndexByte(blob[at:], 0) + 1
		}
	}
	if flags&check != 0 {
		at += 2
	}
	if at > len(blob) {
		return 0, errors.New("it is no gzip member")
	}
	return at, nil
}

func makePlain(blob []byte, span int) ([]byte, error) {
	sizes := encode(table{uint32(2), int64(span), int64(len(blob))})
	var digests []string
	for part := range slices.Chunk(blob, span) {
		digests = append(digests, digest.FromBytes(part).String())
	}
	return write(blob, blob, 2, digests, sizes)
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

var kinds = map[byte]string{
	tar.TypeReg: "reg", tar.TypeDir: "dir", tar.TypeSymlink: "symlink", tar.TypeLink: "hardlink", tar.TypeChar: "char", tar.TypeBlock: "block",
	tar.TypeFifo: "fifo",
}

// write writes the zTOC of a blob whose tar is data.
func write(blob, data []byte, algorithm byte, digests []string, checkpoints []byte) ([]byte, error) {
	read := &counter{r: bytes.NewReader(data)}
	tr := tar.NewReader(read)
	var files tables
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		kind, ok := kinds[h.Typeflag]
		if !ok {
			return nil, fmt.Errorf("%s has the type %q", h.Name, h.Typeflag)
		}
		var records tables
		for _, key := range slices.Sorted(maps.Keys(h.PAXRecords)) {
			records = append(records, table{key, h.PAXRecords[key]})
		}
		files = append(files, table{
			h.Name, kind, read.n, h.Size, h.Linkname, h.Mode, uint32(h.Uid), uint32(h.Gid), h.Uname, h.Gname,
			h.ModTime.UTC().Format(time.RFC3339Nano), h.Devmajor, h.Devminor, records,
		})
	}
	return encode(table{
		"0.9", "strata's tests", int64(len(blob)), read.n, table{files},
		table{algorithm, uint32(len(digests) - 1), digests, checkpoints},
	}), nil
}

// table is a table of a flatbuffer: its fields in the schema's order.
type table []any

type tables []table

// encode writes a flatbuffer: each table after what refers to it, with its vtable before it.
func encode(root table) []byte {
	var b buffer
	b.reference(root)
	b.flush()
	return b.data
}

// buffer is a flatbuffer that is written. What is referred to comes later.
type buffer struct {
	data []byte
	open []reference
}

type reference struct {
	at int
	to any
}

// reference writes an offset that is known later.
func (b *buffer) reference(to any) {
	b.open = append(b.open, reference{len(b.data), to})
	b.number(4, 0)
}

func (b *buffer) number(size int, v uint64) {
	b.data = append(b.data, binary.LittleEndian.AppendUint64(nil, v)[:size]...)
}

// flush writes all that is referred to.
func (b *buffer) flush() {
	for len(b.open) > 0 {
		r := b.open[0]
		b.open = b.open[1:]
		for len(b.data)%8 != 0 {
			b.data = append(b.data, 0)
		}
		at := len(b.data)
		switch v := r.to.(type) {
		case table:
			at = b.table(v)
		case tables:
			b.number(4, uint64(len(v)))
			for _, t := range v {
				b.reference(t)
			}
		case []string:
			b.number(4, uint64(len(v)))
			for _, s := range v {
				b.reference(s)
			}
		case string:
			b.number(4, uint64(len(v)))
			b.data = append(append(b.data, v...), 0)
		case []byte:
			b.number(4, uint64(len(v)))
			b.data = append(b.data, v...)
		}
		binary.LittleEndian.PutUint32(b.data[r.at:], uint32(at-r.at))
	}
}

// table writes a table after its vtable, and returns where it begins.
func (b *buffer) table(t table) int {
	vtable := len(b.data)
	offsets, end := make([]int, len(t)), 4
	for i, v := range t {
		size := sizeOf(v)
		end += -end & (size - 1)
		offsets[i] = end
		end += size
	}
	b.number(2, uint64(4+2*len(t)))
	b.number(2, uint64(end))
	for _, offset := range offsets {
		b.number(2, uint64(offset))
	}
	for len(b.data)%8 != 0 {
		b.data = append(b.data, 0)
	}
	at := len(b.data)
	b.number(4, uint64(at-vtable))
	for i, v := range t {
		for len(b.data) < at+offsets[i] {
			b.data = append(b.data, 0)
		}
		switch v := v.(type) {
		case byte:
			b.number(1, uint64(v))
		case uint32:
			b.number(4, uint64(v))
		case int64:
			b.number(8, uint64(v))
		default:
			b.reference(v)
		}
	}
	return at
}

func sizeOf(v any) int {
	switch v.(type) {
	case byte:
		return 1
	case int64:
		return 8
	}
	return 4
}
