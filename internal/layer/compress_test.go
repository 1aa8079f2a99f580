package layer

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"strings"
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

// A zstd stream may begin with a skippable frame; lz4's have the same magic numbers, and another after them.
func TestDecompressZstdSkippable(t *testing.T) {
	var b bytes.Buffer
	b.WriteString("\x50\x2a\x4d\x18\x04\x00\x00\x00abcd")
	w, err := NewCompressor(Zstd, &b, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("content")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, last := range []byte{0x50, 0x57, 0x5f} {
		data := b.Bytes()
		data[0] = last
		if got := decompress(t, data); got != "content" {
			t.Errorf("magic %x: %q", last, got)
		}
	}
	if got := Detect([]byte("\x60\x2a\x4d\x18\x04\x00")); got != None {
		t.Errorf("another magic is taken for %s", got)
	}
}

// xz has filters, which come before LZMA2.
func TestDecompressXzFilters(t *testing.T) {
	if _, err := exec.LookPath("xz"); err != nil {
		t.Skip(err)
	}
	content := strings.Repeat("content ", 100_000)
	for _, filters := range [][]string{{"--lzma2"}, {"--x86", "--lzma2"}, {"--delta=dist=4", "--lzma2=dict=4MiB"}} {
		cmd := exec.Command("xz", append([]string{"--stdout"}, filters...)...)
		cmd.Stdin = strings.NewReader(content)
		data, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if got := decompress(t, data); got != content {
			t.Errorf("%v: %d bytes came back", filters, len(got))
		}
		r, err := Decompress(bytes.NewReader(data[:len(data)/2]), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(r); err == nil {
			t.Errorf("%v: half of a stream is read without an error", filters)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		r, err = Decompress(bytes.NewReader(data), Limits{}) // closed before its end
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

func decompress(t *testing.T, data []byte) string {
	t.Helper()
	r, err := Decompress(bytes.NewReader(data), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	return string(got)
}
