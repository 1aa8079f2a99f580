// Package chunked reads layers of which a table of contents says where in the compressed blob the contents of each file
// are, so that single files can be had of a blob that is elsewhere: eStargz, zstd:chunked and SOCI. The first two are
// ordinary layers, gzip and zstd, for whoever does not know of it, with a table in them. The tables of SOCI lie beside
// layers of any kind.
//
//   - eStargz: github.com/containerd/stargz-snapshotter, docs/estargz.md
//   - zstd:chunked: github.com/containers/storage, docs/containers-storage-zstd-chunked.md
//   - SOCI: github.com/awslabs/soci-snapshotter, ztoc/
//
// What is verified: the table against the digest that the manifest has for it, and each chunk against its digest in the
// table. Nothing here compares a layer with its diffID: for that the whole tar is needed.
package chunked

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
)

// Bounds of what is read of a blob that may be hostile, in bytes.
const (
	maxTable = 64 << 20 // the table of contents, compressed or not: half a million files
	maxChunk = 64 << 20 // a chunk, compressed or not, with what lies before it in its stream; eStargz writes 4 MiB

	maxEntries = 1 << 20 // of a table, parts of files counted
)

// ErrUnreadable is wrapped by errors of a table of contents that is not as its format says.
var ErrUnreadable = errors.New("the layer's table of contents cannot be read")

// ErrDamaged is wrapped by the error of bytes that do not have their digest.
var ErrDamaged = errors.New("the bytes do not match their digest")

// Blob reads parts of a blob.
type Blob func(ctx context.Context, from, to int64) (io.ReadCloser, error)

// Source is where a layer's blob is.
type Source struct {
	Blob Blob
	Size int64 // of the blob, bytes
	// Beside is what else is there. Only tables that lie beside their blobs need it.
	Beside Repository
}

// Index is a layer's table of contents with the places of its files' contents.
type Index struct {
	// TOC is the layer's. The Offset of a file is where its contents are in the space of all contents, in which the
	// chunks lie one after the other.
	TOC *layer.TOC
	// Chunks are the parts that can be had alone, by At, without gaps.
	Chunks []Chunk
	// Space is the length of the contents of all files together, or of the layer's tar, in bytes.
	Space int64
	// Undigested says that the table has no digests of files, but of those without contents.
	Undigested bool
	// By names what the table is for people: "eStargz", "SOCI index sha256:…".
	By string

	compression layer.Compression
}

// Chunk is a part of a file.
type Chunk struct {
	At, Size int64 // in the space of all contents, bytes
	From, To int64 // the bytes of the blob that hold it, compressed, with a little of what follows
	Skip     int64 // bytes of the decompressed stream before it
	Digest   digest.Digest
	// Zeros says that it holds nothing else. Then it is not fetched, and has no digest.
	Zeros bool
	// Packed is the digest of its bytes in the blob, where nothing says that of what they hold: Digest is "" then.
	Packed digest.Digest

	resume *checkpoint // where decompressing begins in the middle of a stream
}

// Spans are the chunks that a part of the space touches.
func (x *Index) Spans(at, size int64) (first, end int) {
	first, _ = slices.BinarySearchFunc(x.Chunks, at, func(c Chunk, at int64) int {
		if c.At+c.Size <= at {
			return -1
		}
		return 1
	})
	for end = first; end < len(x.Chunks) && x.Chunks[end].At < at+size; end++ {
	}
	return first, end
}

// Extract decompresses a chunk out of its bytes of the blob, and compares it with its digest.
func (x *Index) Extract(c *Chunk, compressed []byte) ([]byte, error) {
	if c.Zeros {
		return make([]byte, c.Size), nil
	}
	if c.Packed != "" {
		return c.unpack(compressed)
	}
	z, err := x.decompress(bytes.NewReader(compressed))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	defer z.Close()
	if _, err := io.CopyN(io.Discard, z, c.Skip); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	data := make([]byte, c.Size)
	if _, err := io.ReadFull(z, data); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return data, c.Check(data)
}

// unpack compares the bytes of a chunk with their digest, and decompresses them.
func (c *Chunk) unpack(compressed []byte) ([]byte, error) {
	if got := digest.FromBytes(compressed); got != c.Packed {
		return nil, fmt.Errorf("%w: a part of the layer has %s, and %s was promised", ErrDamaged, got, c.Packed)
	}
	data, err := c.resume.resume(compressed, c.Size)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return data, nil
}

// Check compares the bytes of a chunk with its Digest.
func (c *Chunk) Check(data []byte) error {
	if c.Zeros {
		if slices.ContainsFunc(data, func(b byte) bool { return b != 0 }) {
			return fmt.Errorf("%w: a part of a file has more than zeros", ErrDamaged)
		}
		return nil
	}
	if got := digest.FromBytes(data); got != c.Digest {
		return fmt.Errorf("%w: a part of a file has %s, and %s was promised", ErrDamaged, got, c.Digest)
	}
	return nil
}

func (x *Index) decompress(r io.Reader) (io.ReadCloser, error) {
	switch x.compression {
	case layer.Gzip:
		return gzip.NewReader(r)
	case layer.None:
		return io.NopCloser(r), nil
	}
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(2*maxChunk))
	if err != nil {
		return nil, err
	}
	return z.IOReadCloser(), nil
}

// entry is one of a table of contents in JSON, of either format. Of a "chunk", a later part of the file before it,
// only the place is there.
type entry struct {
	Name, Type string
	Size       int64
	ModTime    string
	LinkName   string
	Mode       int64
	UID, GID   int
	DevMajor   int64
	DevMinor   int64
	Xattrs     map[string]string // in base64
	Digest     string
	place
}

// place is where in the blob a part of a file is.
type place struct {
	Offset      int64
	EndOffset   int64 // of the whole file; zstd:chunked has it, eStargz not
	InnerOffset int64
	ChunkOffset int64
	ChunkSize   int64
	ChunkDigest string
	ChunkType   string // "zeros" for a part of nothing else, in zstd:chunked
}

// entries are those of a table, no more than maxEntries: each takes more memory than its text.
type entries []entry

// UnmarshalJSON implements json.Unmarshaler.
func (all *entries) UnmarshalJSON(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if open, err := d.Token(); err != nil || open != json.Delim('[') {
		return errors.New("its entries are no list")
	}
	for d.More() {
		if len(*all) == maxEntries {
			return fmt.Errorf("it has more than the %d entries that are read", maxEntries)
		}
		var e entry
		if err := d.Decode(&e); err != nil {
			return err
		}
		*all = append(*all, e)
	}
	return nil
}

// parse makes an index of a table of contents. end is where the contents end in the blob.
func parse(ctx context.Context, table []byte, end int64, c layer.Compression) (*Index, error) {
	var t struct {
		Version int
		Entries entries
	}
	if err := json.Unmarshal(table, &t); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	if t.Version != 1 {
		return nil, fmt.Errorf("%w: its version is %d, and not 1", ErrUnreadable, t.Version)
	}
	p := &parser{entries: t.Entries, end: end, index: &Index{compression: c}}
	p.sortOffsets()
	builder := layer.NewBuilder(ctx)
	for i := 0; i < len(p.entries); i++ {
		e := &p.entries[i]
		h, err := e.header()
		if err != nil {
			return nil, fmt.Errorf("%w: %q: %w", ErrUnreadable, e.Name, err)
		}
		made, err := builder.Add(h)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
		}
		last := i // of the file's chunks
		for last+1 < len(p.entries) && p.entries[last+1].Type == "chunk" {
			last++
		}
		if made != nil && made.Type == layer.File {
			if err := p.file(made, p.entries[i:last+1]); err != nil {
				return nil, fmt.Errorf("%w: %q: %w", ErrUnreadable, e.Name, err)
			}
		} else if last > i {
			return nil, fmt.Errorf("%w: %q has parts and is no file", ErrUnreadable, e.Name)
		}
		i = last
	}
	var err error
	if p.index.TOC, err = builder.TOC(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	return p.index, nil
}

// parser gives files their places.
type parser struct {
	entries []entry
	offsets []int64 // at which something begins in the blob, sorted
	end     int64
	index   *Index
}

func (p *parser) sortOffsets() {
	for i := range p.entries {
		if e := &p.entries[i]; e.Type == "reg" || e.Type == "chunk" {
			p.offsets = append(p.offsets, e.Offset)
		}
	}
	slices.Sort(p.offsets)
	p.offsets = slices.Compact(p.offsets)
}

// file takes in a file, whose first part is in its own entry.
func (p *parser) file(made *layer.Entry, parts []entry) error {
	x := p.index
	made.Offset, made.Digest = x.Space, digest.Digest(parts[0].Digest)
	if made.Size == 0 {
		made.Digest = digest.FromBytes(nil)
		return nil
	}
	if err := made.Digest.Validate(); err != nil || made.Digest.Algorithm() != digest.SHA256 {
		return fmt.Errorf("its digest is %q", made.Digest)
	}
	var done int64
	for i := range parts {
		e := &parts[i]
		size := e.ChunkSize
		if size == 0 {
			size = made.Size - e.ChunkOffset
		}
		if e.ChunkOffset != done || size <= 0 || size > made.Size-done {
			return fmt.Errorf("a part of %d bytes at %d does not follow the one before, which ends at %d of %d", size, e.ChunkOffset, done, made.Size)
		}
		c := Chunk{At: x.Space + done, Size: size, From: e.Offset, To: p.endOf(parts, i), Skip: e.InnerOffset, Digest: digest.Digest(e.ChunkDigest)}
		if c.Digest == "" && len(parts) == 1 {
			c.Digest = made.Digest
		}
		switch done += size; e.ChunkType {
		case "zeros":
			if err := x.zeros(c); err != nil {
				return err
			}
		case "":
			if err := c.sane(p.end); err != nil {
				return err
			}
			x.Chunks = append(x.Chunks, c)
		default:
			return fmt.Errorf("it has a part of the type %q", e.ChunkType)
		}
	}
	if done != made.Size {
		return fmt.Errorf("its parts have %d of its %d bytes", done, made.Size)
	}
	if x.Space += made.Size; x.Space > layer.DefaultSize {
		return fmt.Errorf("with it the files have more than the %d bytes that strata accepts", int64(layer.DefaultSize))
	}
	return nil
}

// sane says whether a chunk can be read out of a blob that has end bytes of contents.
func (c *Chunk) sane(end int64) error {
	promised := cmp.Or(c.Digest, c.Packed)
	switch {
	case promised.Validate() != nil || promised.Algorithm() != digest.SHA256:
		return fmt.Errorf("the digest of a part is %q", promised)
	case c.From < 0 || c.To <= c.From || c.To > end:
		return fmt.Errorf("a part is at %d to %d of %d bytes", c.From, c.To, end)
	case c.Size > maxChunk || c.To-c.From > maxChunk || c.Skip < 0 || c.Skip > maxChunk:
		return fmt.Errorf("a part has more than the %d bytes that are read at once", maxChunk)
	}
	return nil
}

// zerosAtOnce is how long a chunk of zeros is at most, in bytes; maxZeros is how many there may be.
const (
	zerosAtOnce = 1 << 20
	maxZeros    = 1 << 20
)

// zeros takes in a part of a file that holds nothing else.
func (x *Index) zeros(c Chunk) error {
	if c.Size/zerosAtOnce > maxZeros-int64(len(x.Chunks)) {
		return errors.New("it has more zeros than strata accepts")
	}
	for end := c.At + c.Size; c.At < end; c.At += c.Size {
		c.Size, c.To, c.Digest, c.Skip, c.Zeros = min(zerosAtOnce, end-c.At), c.From, "", 0, true
		x.Chunks = append(x.Chunks, c)
	}
	return nil
}

// endOf is where the stream ends that holds a part of a file: where another one begins, or at the end.
func (p *parser) endOf(parts []entry, i int) int64 {
	if i == len(parts)-1 && parts[0].EndOffset > 0 {
		return parts[0].EndOffset
	}
	next, _ := slices.BinarySearch(p.offsets, parts[i].Offset+1)
	if next < len(p.offsets) {
		return p.offsets[next]
	}
	return p.end
}

// xattrs are the extended attributes, decoded.
func (e *entry) xattrs() (map[string]string, error) {
	all := map[string]string{}
	for name, text := range e.Xattrs {
		value, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("extended attribute %q: %w", name, err)
		}
		all[name] = string(value)
	}
	return all, nil
}

// modTime is the time of an entry; the beginning of 1970 where it has none, as in a tar.
func (e *entry) modTime() (time.Time, error) {
	if e.ModTime == "" {
		return time.Unix(0, 0), nil
	}
	return time.Parse(time.RFC3339, e.ModTime)
}

// position reads numbers with ":" between them.
func position(text string, n int) ([]int64, error) {
	parts := strings.Split(text, ":")
	if len(parts) != n {
		return nil, fmt.Errorf("%w: %q is no position", ErrUnreadable, text)
	}
	var numbers []int64
	for _, part := range parts {
		v, err := strconv.ParseInt(part, 10, 64)
		if err != nil || v < 0 {
			return nil, fmt.Errorf("%w: %q is no position", ErrUnreadable, text)
		}
		numbers = append(numbers, v)
	}
	return numbers, nil
}
