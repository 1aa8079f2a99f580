package layer

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

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

// Detect tells a compression from the first bytes of a stream. A zstd stream may begin with a skippable frame, as pzstd
// writes it: its magic is 0x184D2A50 to 0x184D2A5F, little endian (RFC 8878, 3.1.2).
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
	if len(head) >= 4 && head[0]>>4 == 5 && string(head[1:4]) == "\x2a\x4d\x18" {
		return Zstd
	}
	return None
}

// ErrCompression is wrapped by what a decompressor says of its input when it begins.
var ErrCompression = errors.New("the compressed data cannot be read")

// maxWindow is how far back a compressed stream may refer, in bytes, which is the memory that reading it takes. It is
// what the zstd tool allows without --long; xz -9 asks for half of it.
const maxWindow = 128 << 20

// Decompress returns the stream that r holds, compressed in any of the known ways or not at all, within limits. The
// caller closes the result, and r. An error of what r holds wraps ErrCompression.
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
	return readAhead(&decompressed{ReadCloser: z, in: in, limits: l.withDefaults()}), nil
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
	if lerr := d.limits.checkRatio(d.in.n.Load(), d.out); lerr != nil {
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
			return nil, fmt.Errorf("%w: reading gzip: %w", ErrCompression, err)
		}
		return z, nil
	case Zstd:
		z, err := zstd.NewReader(b, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(2))
		if err != nil {
			return nil, fmt.Errorf("%w: reading zstd: %w", ErrCompression, err)
		}
		return z.IOReadCloser(), nil
	case Bzip2:
		return io.NopCloser(bzip2.NewReader(b)), nil
	case Xz:
		return unxz(b)
	}
	return nil, fmt.Errorf("nothing reads %s", c)
}

// unxz reads xz, with the xz program where a filter comes before LZMA2, such as the one for x86 that xz --x86 sets:
// the library has no other.
func unxz(b *bufio.Reader) (io.ReadCloser, error) {
	// The .xz file format, 2.1.1 and 3.1.2: a header of 12 bytes; the second byte of a block's has the number of
	// filters, less one, in its lowest two bits.
	const flags = 12 + 1
	if head, _ := b.Peek(flags + 1); len(head) > flags && head[12] != 0 && head[flags]&3 != 0 {
		return startXz(b)
	}
	z, err := xz.NewReader(&xzReader{r: b})
	if err != nil {
		return nil, fmt.Errorf("%w: reading xz: %w", ErrCompression, err)
	}
	return io.NopCloser(z), nil
}

// startXz has the xz program read a stream.
func startXz(r io.Reader) (io.ReadCloser, error) {
	cmd := exec.Command("xz", "--decompress", "--stdout", "--quiet", fmt.Sprintf("--memlimit=%d", maxWindow+maxWindow/4))
	cmd.Stdin = r
	cmd.WaitDelay = time.Second // for a stream that sends nothing more
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w: it is xz with a filter, which needs the xz program: %w; install xz-utils, or compress without filters",
			ErrCompression, err)
	}
	return &xzProgram{cmd: cmd, out: out}, nil
}

// xzProgram is the output of an xz process.
type xzProgram struct {
	cmd *exec.Cmd
	out io.Reader
	end error // once the process has ended: io.EOF if it did well
}

func (x *xzProgram) Read(p []byte) (int, error) {
	if x.end != nil {
		return 0, x.end
	}
	n, err := x.out.Read(p)
	if err != io.EOF {
		return n, err
	}
	x.end = io.EOF
	if err := x.cmd.Wait(); err != nil {
		x.end = fmt.Errorf("reading xz with the xz program: %w", err)
	}
	return n, x.end
}

// Close stops the process if it has not ended.
func (x *xzProgram) Close() error {
	if x.end == nil {
		x.end = os.ErrClosed
		_ = x.cmd.Process.Kill() // it may have ended meanwhile
		_ = x.cmd.Wait()
	}
	return nil
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
