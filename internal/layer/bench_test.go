package layer_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
)

// many writes n files of together about size bytes, 40 to a directory, and gives their TOC with digests.
func many(b *testing.B, n int, size int64) (string, *layer.TOC) {
	b.Helper()
	dir := b.TempDir()
	rnd := rand.NewChaCha8([32]byte{1})
	buf := make([]byte, 2*size/int64(n))
	var entries []*layer.Entry
	for i := range n {
		sub := fmt.Sprintf("src/package%03d", i/40)
		if i%40 == 0 {
			must(b, os.MkdirAll(filepath.Join(dir, sub), 0o755))
			entries = append(entries, &layer.Entry{Path: sub, Type: layer.Dir, Mode: 0o755})
		}
		content := buf[:int(rnd.Uint64()%uint64(len(buf)))]
		_, _ = rnd.Read(content)
		e := &layer.Entry{Path: fmt.Sprintf("%s/module_%05d.py", sub, i), Type: layer.File, Mode: 0o644, Size: int64(len(content))}
		sum := sha256.Sum256(content)
		e.Digest = digest.NewDigestFromBytes(digest.SHA256, sum[:])
		must(b, os.WriteFile(filepath.Join(dir, e.Path), content, 0o644))
		entries = append(entries, e)
	}
	entries = append(entries, &layer.Entry{Path: "src", Type: layer.Dir, Mode: 0o755})
	toc, err := layer.NewTOC(entries)
	must(b, err)
	return dir, toc
}

// usage reports the processor time per operation, which says more than the clock on a busy machine,
// and the peak memory.
func usage(b *testing.B) func() {
	var before, after syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &before))
	seconds := func(u *syscall.Rusage) float64 {
		return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
	}
	return func() {
		must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &after))
		b.ReportMetric(1e3*(seconds(&after)-seconds(&before))/float64(b.N), "cpu-ms/op")
		b.ReportMetric(float64(after.Maxrss)/1024, "peak-MB")
	}
}

// BenchmarkFiles is the design's COPY scenario: 20,000 files, 433 MB.
func BenchmarkFiles(b *testing.B) {
	dir, toc := many(b, 20000, 433e6)
	src := layer.TreeSource(dir, toc)
	file := filepath.Join(b.TempDir(), "layer.tar")
	write := func(b *testing.B) *os.File {
		f, err := os.Create(file)
		must(b, err)
		_, err = layer.WriteTarFile(b.Context(), f, toc, src.Open)
		must(b, err)
		return f
	}
	b.Run("WriteTarFile", func(b *testing.B) {
		b.SetBytes(toc.Size())
		defer usage(b)()
		for b.Loop() {
			must(b, write(b).Close())
		}
	})
	b.Run("HashTar", func(b *testing.B) {
		b.SetBytes(toc.Size())
		defer usage(b)()
		for b.Loop() {
			_, err := layer.HashTar(b.Context(), toc, src.Open)
			must(b, err)
		}
	})
	b.Run("DiffTree", func(b *testing.B) {
		b.SetBytes(toc.Size())
		defer usage(b)()
		for b.Loop() {
			_, err := layer.DiffTree(b.Context(), dir, nil, layer.DiffOptions{})
			must(b, err)
		}
	})
	b.Run("Extract", func(b *testing.B) {
		b.SetBytes(toc.Size())
		defer usage(b)()
		f := write(b)
		defer f.Close()
		tar, err := layer.OpenTar(f.Name())
		must(b, err)
		defer tar.Close()
		made, err := layer.HashTar(b.Context(), toc, src.Open)
		must(b, err)
		b.ResetTimer()
		for b.Loop() {
			out := b.TempDir()
			must(b, layer.Extract(b.Context(), made.TOC, tar, out, layer.ExtractOptions{}))
			b.StopTimer()
			must(b, os.RemoveAll(out))
			b.StartTimer()
		}
	})
	b.Run("Unpack", func(b *testing.B) {
		b.SetBytes(toc.Size())
		defer usage(b)()
		must(b, write(b).Close())
		for b.Loop() {
			out := b.TempDir()
			f, err := os.Open(file)
			must(b, err)
			_, err = layer.Unpack(b.Context(), f, out, layer.UnpackOptions{})
			must(b, err)
			must(b, f.Close())
			b.StopTimer()
			must(b, os.RemoveAll(out))
			b.StartTimer()
		}
	})
}

// manyEntries is a TOC without files behind it.
func manyEntries(b *testing.B, n int, seed uint64) *layer.TOC {
	b.Helper()
	rnd := rand.New(rand.NewPCG(seed, 2))
	first := int(seed) * 300 // neighbours have four directories in ten in common
	seen := map[string]bool{}
	var entries []*layer.Entry
	for len(entries) < n {
		dir := fmt.Sprintf("usr/lib/python3/dist-packages/package%d", first+rnd.IntN(500))
		for d := dir; d != "" && !seen[d]; d = layer.Parent(d) {
			seen[d] = true
			entries = append(entries, &layer.Entry{Path: d, Type: layer.Dir, Mode: 0o755})
		}
		p := fmt.Sprintf("%s/file%d.py", dir, rnd.IntN(5000))
		if !seen[p] {
			seen[p] = true
			entries = append(entries, &layer.Entry{Path: p, Type: layer.File, Mode: 0o644, Size: 5, Digest: digest.FromString(p), ModTime: 1.7e9})
		}
	}
	toc, err := layer.NewTOC(entries)
	must(b, err)
	var coded bytes.Buffer
	must(b, toc.Encode(&coded))
	var read layer.TOC // as it lies in memory when it comes from disk
	must(b, read.Decode(&coded))
	return &read
}

func BenchmarkTOC(b *testing.B) {
	toc := manyEntries(b, 20000, 0)
	var coded bytes.Buffer
	must(b, toc.Encode(&coded))
	b.Run("Encode", func(b *testing.B) {
		defer usage(b)()
		for b.Loop() {
			var buf bytes.Buffer
			must(b, toc.Encode(&buf))
		}
		b.ReportMetric(float64(coded.Len()), "bytes")
	})
	b.Run("Decode", func(b *testing.B) {
		defer usage(b)()
		for b.Loop() {
			var t layer.TOC
			must(b, t.Decode(bytes.NewReader(coded.Bytes())))
		}
	})
	b.Run("ContentID", func(b *testing.B) {
		for b.Loop() {
			toc.ContentID()
		}
	})
	var sources []layer.Source
	for i := range 5 {
		sources = append(sources, layer.TreeSource("", manyEntries(b, 20000, uint64(i))))
	}
	b.Run("Stack5", func(b *testing.B) {
		defer usage(b)()
		for b.Loop() {
			_, err := layer.NewStack(sources...).Lookup(b.Context(), "usr")
			must(b, err)
		}
	})
	s := layer.NewStack(sources...)
	b.Run("Lookup", func(b *testing.B) {
		for b.Loop() {
			_, _ = s.Lookup(b.Context(), "usr/lib/python3/dist-packages/package77/file77.py")
		}
	})
}
