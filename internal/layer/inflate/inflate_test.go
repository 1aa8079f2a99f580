package inflate

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"testing/iotest"
	"time"
)

// samples are contents of many kinds.
func samples() map[string][]byte {
	r := rand.New(rand.NewPCG(7, 7))
	random := make([]byte, 80_000)
	for i := range random {
		random[i] = byte(r.Uint32())
	}
	words := make([]byte, 0, 700_000)
	for len(words) < 600_000 {
		words = fmt.Appendf(words, "%s %d\n", []string{"strata", "layer", "the digest of", "x"}[r.IntN(4)], r.IntN(1000))
	}
	skewed := make([]byte, 80_000) // some codewords of 15 bits
	for i := range skewed {
		skewed[i] = byte(min(255, int(r.ExpFloat64()*12)))
	}
	far := append(bytes.Clone(random[:32<<10]), random[:32<<10]...)
	short := make([]byte, 0, 60_000)
	for len(short) < 50_000 {
		for range 3 + r.IntN(5) {
			short = append(short, random[len(short)%7])
		}
	}
	return map[string][]byte{
		"nothing": {}, "a byte": {7}, "zeros": make([]byte, 700_000), "random": random, "words": words, "skewed": skewed,
		"far": far, "short": short, "all": bytes.Join([][]byte{random, words, skewed, far, short}, nil),
	}
}

func compress(t testing.TB, data []byte, level int) []byte {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, level)
	if err != nil {
		t.Fatal(err)
	}
	z.Name, z.Comment, z.Extra = "a name", "a comment", []byte("extra")
	for rest := data; len(rest) > 0; {
		n := min(len(rest), 30_001)
		_, _ = z.Write(rest[:n])
		if len(rest)%3 == 0 {
			_ = z.Flush() // an empty stored block
		}
		rest = rest[n:]
	}
	_ = z.Close()
	return out.Bytes()
}

// readAll reads a stream; one without a member is as if it had nothing.
func readAll(in io.Reader) ([]byte, error) {
	r, err := NewReader(in)
	if err == io.EOF {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func TestReader(t *testing.T) {
	for name, data := range samples() {
		for _, level := range []int{gzip.HuffmanOnly, 0, 1, 6, 9} {
			packed := compress(t, data, level)
			twice := append(bytes.Clone(packed), packed...)
			for how, in := range map[string]io.Reader{
				"whole": bytes.NewReader(packed), "bytes": iotest.OneByteReader(bytes.NewReader(packed)),
				"halves": iotest.HalfReader(bytes.NewReader(packed)), "data and error": iotest.DataErrReader(bytes.NewReader(packed)),
			} {
				got, err := readAll(in)
				if err != nil || !bytes.Equal(got, data) {
					t.Fatalf("%s, level %d, %s: %d bytes of %d: %v", name, level, how, len(got), len(data), err)
				}
			}
			got, err := readAll(bytes.NewReader(twice))
			if err != nil || !bytes.Equal(got, append(bytes.Clone(data), data...)) {
				t.Fatalf("%s, level %d, two members: %d bytes of twice %d: %v", name, level, len(got), len(data), err)
			}
		}
	}
}

// TestDamaged cuts and changes streams at random: what is read is what the standard library reads, or an error where that
// has one.
func TestDamaged(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	all := samples()
	for range 60 {
		for _, name := range []string{"a byte", "far", "short", "skewed"} {
			data := all[name]
			data = data[:r.IntN(min(len(data), 40_000)+1)]
			packed := compress(t, data, []int{gzip.HuffmanOnly, 0, 1, 6, 9}[r.IntN(5)])
			if r.IntN(4) == 0 {
				packed = packed[:r.IntN(len(packed))]
			} else {
				packed[r.IntN(len(packed))] ^= 1 << r.IntN(8)
			}
			compare(t, packed)
		}
	}
}

// compare compares what is read of a stream with what the standard library reads.
func compare(t *testing.T, packed []byte) {
	t.Helper()
	want, wantErr := readStandard(packed)
	got, err := readAll(bytes.NewReader(packed))
	if (err == nil) != (wantErr == nil) || wantErr == nil && !bytes.Equal(got, want) {
		t.Fatalf("%x\n%d bytes, %v, where the standard library has %d, %v", packed[:min(len(packed), 300)], len(got), err, len(want), wantErr)
	}
	if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("the error is %v", err)
	}
}

func readStandard(packed []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err == io.EOF {
		return nil, nil // it has no member
	}
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

func TestReadError(t *testing.T) {
	wrong := errors.New("the disk")
	packed := compress(t, samples()["words"], 6)
	for _, n := range []int{0, 1, 20, 1000, len(packed) / 2, len(packed) - 1} {
		_, err := readAll(io.MultiReader(bytes.NewReader(packed[:n]), iotest.ErrReader(wrong)))
		if !errors.Is(err, wrong) {
			t.Errorf("after %d bytes the error is %v", n, err)
		}
	}
}

func FuzzReader(f *testing.F) {
	for _, name := range []string{"nothing", "a byte", "far", "short"} {
		data := samples()[name]
		for _, level := range []int{gzip.HuffmanOnly, 0, 1, 9} {
			f.Add(compress(f, data[:min(len(data), 3000)], level))
		}
	}
	f.Fuzz(func(t *testing.T, packed []byte) { compare(t, packed) })
}

// BenchmarkReader reads the file $GZIP.
func BenchmarkReader(b *testing.B) {
	packed, err := os.ReadFile(os.Getenv("GZIP"))
	if err != nil {
		packed = compress(b, samples()["all"], 6)
	}
	size := int64(0)
	for b.Loop() {
		r, err := NewReader(bytes.NewReader(packed))
		if err == nil {
			size, err = io.Copy(struct{ io.Writer }{io.Discard}, r)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(size)
}
