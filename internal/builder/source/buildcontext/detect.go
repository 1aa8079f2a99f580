package buildcontext

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Kind is what `strata build -` was given on standard input.
type Kind int

// The kinds of input.
const (
	Dockerfile Kind = iota // the text of a Dockerfile; there is no context
	Tar                    // a context as a tar, compressed or not
)

// magic are the first bytes of compressed streams.
const (
	gzipMagic  = "\x1f\x8b"
	bzip2Magic = "BZh"
	xzMagic    = "\xfd7zXZ\x00"
	zstdMagic  = "\x28\xb5\x2f\xfd"
)

const tarBlock = 512

// Detect tells what a stream is by its first 512 bytes and returns a reader of the whole stream. As in
// docker, all that is neither compressed nor begins with a valid tar header is a Dockerfile.
func Detect(r io.Reader) (Kind, io.Reader, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	head, err := b.Peek(tarBlock)
	if err != nil && !errors.Is(err, io.EOF) {
		return Dockerfile, b, fmt.Errorf("read standard input: %w", err)
	}
	for _, magic := range []string{gzipMagic, bzip2Magic, xzMagic, zstdMagic} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return Tar, b, nil
		}
	}
	if isTarHeader(head) {
		return Tar, b, nil
	}
	return Dockerfile, b, nil
}

// isTarHeader checks the sum of a header block, with the sum's own field taken as blanks (POSIX, pax,
// "ustar Interchange Format"). A block of zeros is the end of an empty tar.
func isTarHeader(b []byte) bool {
	if len(b) < tarBlock {
		return false
	}
	if bytes.Count(b, []byte{0}) == tarBlock {
		return true
	}
	want, err := strconv.ParseInt(strings.Trim(string(b[148:156]), " \x00"), 8, 64)
	if err != nil {
		return false
	}
	sum := int64(8 * ' ')
	for i, c := range b[:tarBlock] {
		if i < 148 || i >= 156 {
			sum += int64(c)
		}
	}
	return sum == want
}

// decompress returns the contents of a stream that may be compressed. xz needs the xz program, as in docker.
func decompress(ctx context.Context, r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	head, err := b.Peek(len(xzMagic))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch s := string(head); {
	case strings.HasPrefix(s, gzipMagic):
		return gzip.NewReader(b)
	case strings.HasPrefix(s, bzip2Magic):
		return io.NopCloser(bzip2.NewReader(b)), nil
	case strings.HasPrefix(s, zstdMagic):
		z, err := zstd.NewReader(b, zstd.WithDecoderMaxMemory(256<<20))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	case s == xzMagic:
		return unxz(ctx, b)
	}
	return io.NopCloser(b), nil
}

func unxz(ctx context.Context, r io.Reader) (io.ReadCloser, error) {
	cmd := exec.CommandContext(ctx, "xz", "-d", "-c", "-q")
	cmd.Stdin = r
	pr, pw := io.Pipe()
	cmd.Stdout = pw
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("decompress xz: %w; install xz-utils, or send gzip or zstd", err)
	}
	go func() {
		err := cmd.Wait()
		if err != nil {
			err = fmt.Errorf("decompress xz: %w", err)
		}
		pw.CloseWithError(err)
	}()
	return pr, nil
}
