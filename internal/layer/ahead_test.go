package layer

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

// What is read ahead are the same bytes with the same error behind them, however they come and however they are read.
func TestReadAhead(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for _, size := range []int{0, 1, aheadBytes - 1, aheadBytes, aheadBytes + 1, 3*aheadBytes*aheadBlocks + 7} {
		want := make([]byte, size)
		for i := range want {
			want[i] = byte(rnd.Uint32())
		}
		for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, errors.New("broken")} {
			for name, wrap := range map[string]func(io.Reader) io.Reader{
				"as it is": func(r io.Reader) io.Reader { return r }, "halves": iotest.HalfReader, "error with data": iotest.DataErrReader,
			} {
				r := readAhead(io.NopCloser(wrap(io.MultiReader(bytes.NewReader(want), iotest.ErrReader(end)))))
				var got bytes.Buffer
				buf := make([]byte, 1+rnd.IntN(1<<20))
				var err error
				for err == nil {
					var n int
					n, err = r.Read(buf)
					got.Write(buf[:n])
				}
				if err != end || !bytes.Equal(got.Bytes(), want) {
					t.Errorf("%d bytes, %s: %d bytes, %v; want %v", size, name, got.Len(), err, end)
				}
				if _, again := r.Read(buf); again != end {
					t.Errorf("%d bytes, %s: then %v", size, name, again)
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// Who stops in the middle leaves nothing that reads on.
func TestReadAheadStopped(t *testing.T) {
	from := &closing{}
	r := readAhead(from)
	if _, err := r.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil || !from.closed {
		t.Errorf("%v, closed: %v", err, from.closed)
	}
}

// closing gives bytes without end, until it is closed.
type closing struct{ closed bool }

func (c *closing) Read(p []byte) (int, error) {
	if c.closed {
		panic("read after it was closed")
	}
	return len(p), nil
}

func (c *closing) Close() error {
	c.closed = true
	return nil
}
