package chunked

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
)

// A zTOC tells of a compressed tar that it knows nothing of: which files are where in the tar, and where
// decompressing can begin (github.com/awslabs/soci-snapshotter, ztoc/fbs/ztoc.fbs). Between two such places lies a
// span. The space of an index of it is the tar itself, and its chunks are the spans.
//
// A file has no digest in it. A span has one, of its compressed bytes, those of the byte that it shares with the span
// before included.

// Where in their tables the fields are that are read.
const (
	ztocVersion, ztocCompressedSize, ztocSize, ztocTOC, ztocCompression = 0, 2, 3, 4, 5

	tocFiles = 0

	fileName, fileType, fileOffset, fileSize, fileLink, fileMode, fileUID, fileGID = 0, 1, 2, 3, 4, 5, 6, 7
	fileModTime, fileMajor, fileMinor, fileXattrs                                  = 10, 11, 12, 13

	xattrKey, xattrValue = 0, 1

	compressionAlgorithm, compressionLast, compressionDigests, compressionCheckpoints = 0, 1, 2, 3

	plainSpan, plainSize = 1, 2
)

// The values of compressionAlgorithm.
const (
	ztocGzip         = 1
	ztocUncompressed = 2
)

// parseZTOC makes an index of a zTOC of a blob of size bytes.
func parseZTOC(ctx context.Context, data []byte, size int64) (*Index, error) {
	x, err := readZTOC(ctx, newFlatbuffer(data), size)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	return x, nil
}

func readZTOC(ctx context.Context, b *flatbuffer, size int64) (*Index, error) {
	z := b.root()
	compressed, space := z.int64(ztocCompressedSize), z.int64(ztocSize)
	version := z.string(ztocVersion)
	switch {
	case b.check() != nil:
		return nil, b.check()
	case version != "0.9" && !strings.HasPrefix(version, "1."):
		return nil, fmt.Errorf("its version is %q, and not 0.9 or 1", version)
	case compressed != size:
		return nil, fmt.Errorf("it is of a layer of %d bytes, and the layer has %d", compressed, size)
	case space < 0 || space > layer.DefaultSize:
		return nil, fmt.Errorf("the layer has %d bytes uncompressed, and strata accepts %d", space, int64(layer.DefaultSize))
	}
	x := &Index{Space: space, Undigested: true}
	if err := x.readSpans(z.table(ztocCompression), size); err != nil {
		return nil, err
	}
	builder := layer.NewBuilder(ctx)
	for _, f := range z.table(ztocTOC).tables(tocFiles, maxEntries) {
		h, err := ztocHeader(f)
		if err != nil {
			return nil, err
		}
		made, err := builder.Add(h)
		if err != nil {
			return nil, err
		}
		if made == nil || made.Type != layer.File {
			continue
		}
		made.Offset = f.int64(fileOffset)
		if made.Size == 0 {
			made.Offset, made.Digest = 0, digest.FromBytes(nil)
		}
		if made.Offset < 0 || made.Size > space || made.Offset > space-made.Size {
			return nil, fmt.Errorf("%q has %d bytes at %d of %d", made.Path, made.Size, made.Offset, space)
		}
	}
	var err error
	if x.TOC, err = builder.TOC(); err == nil {
		err = b.check()
	}
	return x, err
}

// ztocHeader is a file as it stands in the layer's tar.
func ztocHeader(f flattable) (*tar.Header, error) {
	name, size := f.string(fileName), f.int64(fileSize)
	kind, ok := types[f.string(fileType)]
	at, err := time.Parse(time.RFC3339Nano, f.string(fileModTime))
	if f.b.err != nil {
		return nil, f.b.check()
	}
	switch {
	case !ok:
		return nil, fmt.Errorf("%q has a type that layers do not have", name)
	case err != nil:
		return nil, fmt.Errorf("%q has a bad time: %w", name, err)
	case kind == tar.TypeReg && size < 0:
		return nil, fmt.Errorf("the size of %q is %d", name, size)
	}
	h := &tar.Header{
		Typeflag: kind, Name: name, Linkname: f.string(fileLink), Mode: f.int64(fileMode), Uid: int(f.uint32(fileUID)), Gid: int(f.uint32(fileGID)),
		ModTime: at, Devmajor: f.int64(fileMajor), Devminor: f.int64(fileMinor),
	}
	if kind == tar.TypeReg {
		h.Size = size
	}
	for _, x := range f.tables(fileXattrs, maxEntries) {
		key := x.string(xattrKey)
		if strings.HasPrefix(key, "GNU.sparse.") {
			return nil, fmt.Errorf("%q is a sparse file, which is not in one piece in the layer", name)
		}
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[key] = x.string(xattrValue)
	}
	return h, f.b.check()
}

// maxSpans is how many spans a layer may have: a terabyte in spans of 4 MiB. One takes some 250 bytes of memory.
const maxSpans = 1 << 18

// minPlainSpan is how long the spans of an uncompressed layer are at least, in bytes, if there is more than one.
const minPlainSpan = 4 << 10

// readSpans makes the chunks of the index.
func (x *Index) readSpans(c flattable, size int64) error {
	last := int64(int32(c.uint32(compressionLast)))
	digests := c.strings(compressionDigests, maxSpans)
	checkpoints := c.vectorOfBytes(compressionCheckpoints)
	if err := c.b.check(); err != nil {
		return err
	}
	if last < 0 || last+1 != int64(len(digests)) {
		return fmt.Errorf("it has %d digests of %d spans", len(digests), last+1)
	}
	var err error
	switch algorithm := c.byte(compressionAlgorithm, ztocGzip); algorithm {
	case ztocGzip:
		err = x.gzipSpans(checkpoints, size, len(digests))
	case ztocUncompressed:
		err = x.plainSpans(checkpoints, size, len(digests))
	default:
		err = fmt.Errorf("its spans are compressed in the way %d", algorithm)
	}
	if err != nil {
		return err
	}
	for i := range x.Chunks {
		c := &x.Chunks[i]
		if c.Digest = digest.Digest(digests[i]); x.compression == layer.Gzip {
			c.Packed, c.Digest = c.Digest, ""
		}
		if err := c.sane(size); err != nil {
			return err
		}
	}
	// Spans that lie behind the end mark of the tar are read by nobody.
	x.Chunks = slices.DeleteFunc(x.Chunks, func(c Chunk) bool { return c.Size <= 0 })
	return nil
}

// The form of checkpoints (ztoc/compression/gzip_zinfo.c): how many there are in 4 bytes, the span size in 8, and each
// checkpoint as its place in the blob and in the tar, in 8 bytes each, its bits in one, and its window.
const (
	checkpointsHead = 4 + 8
	checkpointSize  = 8 + 8 + 1 + windowSize
	// firstCheckpoint is where the first one is, if it was left out, as the first version does.
	firstCheckpoint = 10
)

// gzipSpans makes chunks of the n spans between checkpoints.
func (x *Index) gzipSpans(checkpoints []byte, size int64, n int) error {
	if len(checkpoints) < checkpointsHead || int64(binary.LittleEndian.Uint32(checkpoints)) != int64(n) {
		return fmt.Errorf("it has no checkpoints for %d spans", n)
	}
	x.compression = layer.Gzip
	x.Chunks = make([]Chunk, 0, n)
	all := bytes.Clone(checkpoints[checkpointsHead:]) // what is kept of the table, of which the index needs no more
	switch len(all) {
	case n * checkpointSize:
	case (n - 1) * checkpointSize:
		x.Chunks = append(x.Chunks, Chunk{From: firstCheckpoint, resume: &checkpoint{}})
	default:
		return fmt.Errorf("its checkpoints have %d bytes, which is not right for %d spans", len(all), n)
	}
	for one := range slices.Chunk(all, checkpointSize) {
		c := Chunk{
			From: int64(binary.LittleEndian.Uint64(one)), At: int64(binary.LittleEndian.Uint64(one[8:])),
			resume: &checkpoint{bits: one[16], window: one[17:]},
		}
		if c.resume.bits > 7 {
			return fmt.Errorf("a checkpoint has %d bits of a byte", c.resume.bits)
		}
		x.Chunks = append(x.Chunks, c)
	}
	for i := range x.Chunks {
		c := &x.Chunks[i]
		end := x.Space
		if c.To = size; i+1 < n {
			c.To, end = x.Chunks[i+1].From, min(end, x.Chunks[i+1].At)
		}
		if i == 0 && c.At != 0 || i > 0 && (c.At <= x.Chunks[i-1].At || c.From < x.Chunks[i-1].From) {
			return errors.New("its checkpoints are not in order")
		}
		c.Size = max(0, end-c.At)
	}
	for i := range x.Chunks {
		if c := &x.Chunks[i]; c.resume.bits > 0 {
			c.From--
		}
	}
	return x.covered()
}

// plainSpans makes chunks of the n spans of an uncompressed tar. In the place of checkpoints there is another
// flatbuffer (ztoc/compression/fbs/zinfo.fbs).
func (x *Index) plainSpans(sizes []byte, size int64, n int) error {
	b := newFlatbuffer(sizes)
	span, whole := b.root().int64(plainSpan), b.root().int64(plainSize)
	if err := b.check(); err != nil {
		return err
	}
	if span <= 0 || span > maxChunk || whole != size || x.Space > size || (size+span-1)/span != int64(n) {
		return fmt.Errorf("it has %d spans of %d bytes, of %d", n, span, size)
	}
	if span < minPlainSpan && n > 1 {
		return fmt.Errorf("its spans have %d bytes, fewer than the %d that strata accepts", span, minPlainSpan)
	}
	x.compression = layer.None
	x.Chunks = make([]Chunk, 0, n)
	for at := int64(0); at < size; at += span {
		to := min(at+span, size)
		x.Chunks = append(x.Chunks, Chunk{At: at, Size: to - at, From: at, To: to})
	}
	x.Space = size
	return x.covered()
}

// covered says whether the chunks are all of the space.
func (x *Index) covered() error {
	var end int64
	for _, c := range x.Chunks {
		if c.At != end && c.Size > 0 {
			return errors.New("its spans have gaps")
		}
		end += c.Size
	}
	if end != x.Space {
		return fmt.Errorf("its spans have %d of %d bytes", end, x.Space)
	}
	return nil
}
