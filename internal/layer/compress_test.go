package layer

import (
	"bytes"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"
)

// The same input gives the same bytes on machines with one core and with several, since digests are made of them.
func TestCompressorsAreTheSameEverywhere(t *testing.T) {
	random := rand.NewChaCha8([32]byte{7})
	data := make([]byte, 5<<20)
	if _, err := random.Read(data[:1<<20]); err != nil {
		t.Fatal(err)
	}
	for i := 1 << 20; i < len(data); i++ {
		data[i] = data[i-1<<20] ^ byte(i>>9)
	}
	two, nine := 2, 9
	for _, test := range []struct {
		c     Compression
		level *int
	}{{Gzip, nil}, {Gzip, &nine}, {Zstd, nil}, {Zstd, &two}, {Zstd, &nine}} {
		compress := func(cores int) []byte {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
			var b bytes.Buffer
			w, err := NewCompressor(test.c, &b, test.level)
			if err != nil {
				t.Fatal(err)
			}
			for rest := data; len(rest) > 0; { // in pieces of a size that depends on the machine
				n := min(len(rest), 70_000*cores)
				if _, err := w.Write(rest[:n]); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			return b.Bytes()
		}
		one, many := compress(1), compress(8)
		if !bytes.Equal(one, many) {
			t.Errorf("%s, level %v: %d bytes with one core, %d others with eight", test.c, test.level, len(one), len(many))
		}
		if got := Detect(one); got != test.c {
			t.Errorf("%s is taken for %s", test.c, got)
		}
		r, err := Decompress(bytes.NewReader(one), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if back, err := io.ReadAll(r); err != nil || !bytes.Equal(back, data) {
			t.Errorf("%s: something else came back, %v", test.c, err)
		}
		r.Close()
	}
	if _, err := NewCompressor(Bzip2, io.Discard, nil); err == nil {
		t.Error("layers can be compressed with bzip2")
	}
}
