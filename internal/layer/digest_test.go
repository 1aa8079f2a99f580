package layer

import (
	"bytes"
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
