package archive

import (
	"errors"
	"io"
	"testing"

	"github.com/strata-build/strata/internal/layer"
)

// An endless stream of zeros, as a device or a small compressed file gives it, is refused at its beginning.
func TestEndlessZeros(t *testing.T) {
	zeros := &zeroReader{}
	if _, err := OpenStream(zeros, t.TempDir(), layer.Limits{}); !errors.Is(err, ErrFormat) || zeros.read > 1<<20 {
		t.Errorf("%v, after %d bytes", err, zeros.read)
	}
}

type zeroReader struct{ read int }

func (z *zeroReader) Read(p []byte) (int, error) {
	if z.read > 1<<24 {
		return 0, io.EOF
	}
	clear(p)
	z.read += len(p)
	return len(p), nil
}
