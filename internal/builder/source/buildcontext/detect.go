package buildcontext

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/strata-build/strata/internal/layer"
)

// Kind is what `strata build -` was given on standard input.
type Kind int

// The kinds of input.
const (
	Dockerfile Kind = iota // the text of a Dockerfile; there is no context
	Tar                    // a context as a tar, compressed or not
)

// Detect tells what a stream is by its first 512 bytes and returns a reader of the whole stream. As in
// docker, all that is neither compressed nor begins with a valid tar header is a Dockerfile.
func Detect(r io.Reader) (Kind, io.Reader, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	head, err := b.Peek(layer.TarBlock)
	if err != nil && !errors.Is(err, io.EOF) {
		return Dockerfile, b, fmt.Errorf("read standard input: %w", err)
	}
	if layer.Detect(head) != layer.None || isTarHeader(head) {
		return Tar, b, nil
	}
	return Dockerfile, b, nil
}

// isTarHeader checks the sum of a header block, with the sum's own field taken as blanks (POSIX, pax,
// "ustar Interchange Format"). A block of zeros is the end of an empty tar.
func isTarHeader(b []byte) bool {
	if len(b) < layer.TarBlock {
		return false
	}
	if bytes.Count(b, []byte{0}) == layer.TarBlock {
		return true
	}
	want, err := strconv.ParseInt(strings.Trim(string(b[148:156]), " \x00"), 8, 64)
	if err != nil {
		return false
	}
	sum := int64(8 * ' ')
	for i, c := range b[:layer.TarBlock] {
		if i < 148 || i >= 156 {
			sum += int64(c)
		}
	}
	return sum == want
}
