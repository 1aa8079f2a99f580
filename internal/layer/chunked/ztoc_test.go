package chunked

import (
	"archive/tar"
	"bytes"
	stdgzip "compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/pgzip"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/chunked/ztoctest"
)

// mixed is a layer with noise, text and zeros, so that writers choose blocks of all kinds.
func mixed(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	r := rand.New(rand.NewPCG(4, 2))
	for i := range 40 {
		data := make([]byte, 1000+r.IntN(200_000))
		switch i % 4 {
		case 0:
			for k := range data {
				data[k] = byte(r.Uint32())
			}
		case 1:
			for k := range data {
				data[k] = "some words of a text, again and again\n"[r.IntN(38)]
			}
		case 2:
			copy(data, strings.Repeat(fmt.Sprintf("line %d of what repeats\n", i), len(data)/20))
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("dir/%02d", i), Mode: 0o644, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// gzipWriters are programs and libraries that write gzip; those that are not here are skipped.
var gzipWriters = []struct {
	name  string
	write func(t *testing.T, data []byte) []byte
}{
	{"Go", func(t *testing.T, data []byte) []byte {
		return written(t, data, func(w io.Writer) io.WriteCloser { return stdgzip.NewWriter(w) })
	}},
	{"Go, with a name", func(t *testing.T, data []byte) []byte {
		return written(t, data, func(w io.Writer) io.WriteCloser {
			z := stdgzip.NewWriter(w)
			z.Name, z.Comment, z.Extra = "layer.tar", "a comment", []byte("extra")
			return z
		})
	}},
	{"Go, stored", func(t *testing.T, data []byte) []byte {
		return written(t, data, func(w io.Writer) io.WriteCloser { z, _ := stdgzip.NewWriterLevel(w, stdgzip.NoCompression); return z })
	}},
	{"Go, Huffman only", func(t *testing.T, data []byte) []byte {
		return written(t, data, func(w io.Writer) io.WriteCloser { z, _ := stdgzip.NewWriterLevel(w, stdgzip.HuffmanOnly); return z })
	}},
	{"klauspost", func(t *testing.T, data []byte) []byte {
		return written(t, data, func(w io.Writer) io.WriteCloser { z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed); return z })
	}},
	{"pgzip", func(t *testing.T, data []byte) []byte {
		return written(t, data, func(w io.Writer) io.WriteCloser { return pgzip.NewWriter(w) })
	}},
	{"gzip -1", func(t *testing.T, data []byte) []byte { return ranOn(t, data, "gzip", "-1") }},
	{"gzip -6", func(t *testing.T, data []byte) []byte { return ranOn(t, data, "gzip") }},
	{"gzip -9", func(t *testing.T, data []byte) []byte { return ranOn(t, data, "gzip", "-9") }},
	{"pigz", func(t *testing.T, data []byte) []byte { return ranOn(t, data, "pigz", "-p", "3") }},
	{"pigz -9", func(t *testing.T, data []byte) []byte { return ranOn(t, data, "pigz", "-9") }},
}

func written(t *testing.T, data []byte, open func(io.Writer) io.WriteCloser) []byte {
	var b bytes.Buffer
	w := open(&b)
	_, err := w.Write(data)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func ranOn(t *testing.T, data []byte, name string, args ...string) []byte {
	if _, err := exec.LookPath(name); err != nil {
		t.Skip(err)
	}
	cmd := exec.Command(name, append(args, "-c")...)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(data), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Whoever wrote a layer, decompressing goes on at each checkpoint, at whichever bit of a byte that is.
func TestCheckpoints(t *testing.T) {
	data := mixed(t)
	seen := map[byte]int{}
	for _, w := range gzipWriters {
		t.Run(w.name, func(t *testing.T) {
			blob := w.write(t, data)
			table, err := ztoctest.Make(blob, 1000) // a checkpoint at each block
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range equal(t, table, blob, data).Chunks {
				seen[c.resume.bits]++
			}
		})
	}
	for bits := range byte(8) {
		if seen[bits] == 0 {
			t.Errorf("no checkpoint had %d bits of a byte", bits)
		}
	}
	t.Log("checkpoints by their bits:", seen)
}

// equal reads a layer by its zTOC, and compares all of it with its tar.
func equal(t *testing.T, table, blob, data []byte) *Index {
	t.Helper()
	x, err := parseZTOC(t.Context(), table, int64(len(blob)))
	if err != nil {
		t.Fatal(err)
	}
	scanned, err := layer.Scan(t.Context(), bytes.NewReader(data), layer.Unlimited)
	if err != nil {
		t.Fatal(err)
	}
	want, err := scanned.TOC()
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range want.Entries { // what a zTOC does not say
		if e.Type == layer.File && e.Size > 0 {
			want.Entries[i].Digest = ""
		} else {
			want.Entries[i].Offset = x.TOC.Entries[i].Offset
		}
	}
	if diff := cmp.Diff(want.Entries, x.TOC.Entries); diff != "" {
		t.Fatal(diff)
	}
	for i := range x.Chunks {
		c := &x.Chunks[i]
		got, err := x.Extract(c, blob[c.From:c.To])
		if err != nil {
			t.Fatalf("span %d, at %d bits before byte %d: %v", i, c.resume.bits, c.From, err)
		}
		if !bytes.Equal(got, data[c.At:c.At+c.Size]) {
			t.Fatalf("span %d, at %d bits before byte %d, has other bytes", i, c.resume.bits, c.From)
		}
	}
	return x
}

// The zTOCs of testdata were written by the SOCI snapshotter's own library (testdata/README.md).
func TestRealZTOC(t *testing.T) {
	for _, name := range []string{"gzip", "plain"} {
		blob, err := os.ReadFile("testdata/soci/" + name + ".layer")
		if err != nil {
			t.Fatal(err)
		}
		table, err := os.ReadFile("testdata/soci/" + name + ".ztoc")
		if err != nil {
			t.Fatal(err)
		}
		data := blob
		if name == "gzip" {
			z, err := gzip.NewReader(bytes.NewReader(blob))
			if err != nil {
				t.Fatal(err)
			}
			if data, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		}
		equal(t, table, blob, data)
	}
}

// A zTOC may be hostile as any other table.
func FuzzZTOC(f *testing.F) {
	var small bytes.Buffer
	w := tar.NewWriter(&small)
	for _, h := range []*tar.Header{
		{Typeflag: tar.TypeDir, Name: "a/", Mode: 0o755}, {Typeflag: tar.TypeReg, Name: "a/b", Size: 3},
		{Typeflag: tar.TypeSymlink, Name: "c", Linkname: "a/b", PAXRecords: map[string]string{"SCHILY.xattr.user.x": "y"}},
	} {
		if err := w.WriteHeader(h); err != nil {
			f.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte("abc")); err != nil {
				f.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	var packed bytes.Buffer
	z := stdgzip.NewWriter(&packed)
	if _, err := z.Write(small.Bytes()); err != nil {
		f.Fatal(err)
	}
	if err := z.Close(); err != nil {
		f.Fatal(err)
	}
	for _, blob := range [][]byte{small.Bytes(), packed.Bytes()} {
		table, err := ztoctest.Make(blob, 512)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(table, int64(len(blob)), blob)
	}
	f.Fuzz(func(t *testing.T, table []byte, size int64, blob []byte) {
		x, err := parseZTOC(context.Background(), table, size)
		if err != nil {
			if !errors.Is(err, ErrUnreadable) {
				t.Fatal(err)
			}
			return
		}
		var at int64
		for i := range x.Chunks {
			c := &x.Chunks[i]
			if c.At != at || c.Size <= 0 || c.Size > maxChunk || c.From < 0 || c.To <= c.From || c.To > size {
				t.Fatalf("a span %+v after %d, of a blob of %d bytes", c, at, size)
			}
			if c.To <= int64(len(blob)) {
				_, _ = x.Extract(c, blob[c.From:c.To])
			}
			if at += c.Size; c.resume != nil && c.Size < 1<<20 {
				_, _ = c.resume.resume(blob, c.Size)
			}
		}
		for _, e := range x.TOC.Entries {
			if e.Type == layer.File && (e.Offset < 0 || e.Offset+e.Size > x.Space) {
				t.Fatalf("%q is at %d of %d bytes", e.Path, e.Offset, x.Space)
			}
		}
	})
}
