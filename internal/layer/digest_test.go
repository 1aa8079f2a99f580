package layer

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"
)

func TestDigestReader(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{0, 1, digestBlock - 1, digestBlock, digestBlock + 1, 5*digestBlock + 17} {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		for _, in := range []io.Reader{bytes.NewReader(data), iotest.HalfReader(bytes.NewReader(data)), iotest.DataErrReader(bytes.NewReader(data))} {
			d := NewDigestReader(in)
			got, err := io.ReadAll(d)
			if err != nil || !bytes.Equal(got, data) || d.Digest() != digest.FromBytes(data) || d.Digest() != digest.FromBytes(data) {
				t.Errorf("%d bytes: %d came through, %v, %s", n, len(got), err, d.Digest())
			}
		}
	}
}

// fullAfter takes so many writes.
type fullAfter int

var errFull = errors.New("full")

func (f *fullAfter) Write(p []byte) (int, error) {
	if *f--; *f < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestCopyingReader(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcde\n"), 3*digestBlock/16+1)
	var out bytes.Buffer
	d := NewCopyingReader(iotest.HalfReader(bytes.NewReader(data)), &out)
	if _, err := io.Copy(io.Discard, d); err != nil || d.Copied() != nil || !bytes.Equal(out.Bytes(), data) || d.Digest() != digest.FromBytes(data) {
		t.Errorf("%d of %d bytes were copied: %v", out.Len(), len(data), err)
	}
	for n := range fullAfter(4) {
		d := NewCopyingReader(bytes.NewReader(data), &n)
		_, err := io.Copy(io.Discard, d)
		if copied := d.Copied(); !errors.Is(copied, errFull) || err != nil && !errors.Is(err, errFull) || d.Digest() == "" {
			t.Errorf("the error is %v, and then %v", err, copied)
		}
	}
}
