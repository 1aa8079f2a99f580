package layer

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
	"github.com/ulikunitz/xz"
)

// Compression is how a stream is compressed.
type Compression string

// The compressions that are recognised. Layers come as plain tar, gzip or zstd (OCI image spec, "Layer
// Media Types"); ADD unpacks all of them (Dockerfile reference, "Adding local tar archives").
const (
	None  Compression = "none"
	Gzip  Compression = "gzip"
	Zstd  Compression = "zstd"
	Bzip2 Compression = "bzip2"
	Xz    Compression = "xz"
)

// DetectLen is how many bytes Detect wants to see.
const DetectLen = 6

// Detect tells a compression from the first bytes of a stream.
func Detect(head []byte) Compression {
	for _, m := range []struct {
		magic string
		c     Compression
	}{
		{"\x1f\x8b\x08", Gzip}, {"\x28\xb5\x2f\xfd", Zstd}, {"BZh", Bzip2}, {"\xfd7zXZ\x00", Xz},
	} {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return m.c
		}
	}
	return None
}

// maxWindow is how far back a compressed stream may refer, in bytes, which is the memory that reading it takes. It is what
// the zstd tool allows without --long; xz -9 asks for half of it.
const maxWindow = 128 << 20

// Decompress returns the stream that r holds, compressed in any of the known ways or not at all, within limits. The caller
// closes the result, and r.
func Decompress(r io.Reader, l Limits) (io.ReadCloser, error) {
	in := &countReader{r: r}
	b := bufio.NewReaderSize(in, 1<<18)
	head, err := b.Peek(DetectLen)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading the beginning of a stream: %w", err)
	}
	c := Detect(head)
	if c == None {
		return io.NopCloser(b), nil
	}
	z, err := decompressor(c, b)
	if err != nil {
		return nil, err
	}
	return &decompressed{ReadCloser: z, in: in, limits: l.withDefaults()}, nil
}

// decompressed is a decompressed stream that ends with a *LimitError where it becomes too long.
type decompressed struct {
	io.ReadCloser
	in     *countReader
	out    int64
	limits Limits
}

func (d *decompressed) Read(p []byte) (int, error) {
	n, err := d.ReadCloser.Read(p)
	d.out += int64(n)
	if lerr := d.limits.checkRatio(d.in.n, d.out); lerr != nil {
		return 0, lerr
	}
	if lerr := d.limits.checkSize("", 0, d.out); lerr != nil {
		return 0, lerr
	}
	return n, err
}

func decompressor(c Compression, b *bufio.Reader) (io.ReadCloser, error) {
	switch c {
	case Gzip:
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, fmt.Errorf("reading gzip: %w", err)
		}
		return z, nil
	case Zstd:
		z, err := zstd.NewReader(b, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(2))
		if err != nil {
			return nil, fmt.Errorf("reading zstd: %w", err)
		}
		return z.IOReadCloser(), nil
	case Bzip2:
		return io.NopCloser(bzip2.NewReader(b)), nil
	case Xz:
		z, err := xz.NewReader(&xzReader{r: b})
		if err != nil {
			return nil, fmt.Errorf("reading xz: %w", err)
		}
		return io.NopCloser(z), nil
	}
	return nil, fmt.Errorf("nothing reads %s", c)
}

// NewGzip compresses with gzip on all cores, at the level that Docker uses for layers.
func NewGzip(w io.Writer) io.WriteCloser {
	z := pgzip.NewWriter(w)
	return z
}

// NewCompressor compresses with gzip, levels 0 to 9, or zstd, levels 0 to 22 as the zstd tool counts them; nil is the
// compression's own default. The same input gives the same bytes on every machine, however many cores it has.
func NewCompressor(c Compression, w io.Writer, level *int) (io.WriteCloser, error) {
	switch {
	case c == Gzip && level == nil:
		return NewGzip(w), nil
	case c == Gzip:
		return pgzip.NewWriterLevel(w, *level)
	case c == Zstd && level == nil:
		return zstd.NewWriter(w)
	case c == Zstd:
		return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(*level)))
	}
	return nil, fmt.Errorf("layers cannot be compressed with %s", c)
}
