package buildcontext

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/strata-build/strata/internal/layer/selection"
)

var bg = context.Background()

func seal(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

func digestBytes(s string) string { sum := sha256.Sum256([]byte(s)); return string(sum[:]) }

// grow makes a context of 20,000 files in 1,000 directories, with 433 MB in sizes as source trees have them.
func grow(b *testing.B) string {
	dir := b.TempDir()
	r := rand.New(rand.NewPCG(1, 2))
	buf := make([]byte, 64<<10)
	for i := range 1000 {
		d := filepath.Join(dir, fmt.Sprintf("pkg%02d/mod%02d/sub%d", i%40, i/40%25, i%3))
		must(b, os.MkdirAll(d, 0o755))
		for j := range 20 {
			for k := 0; k < len(buf); k += 8 {
				binary.LittleEndian.PutUint64(buf[k:], r.Uint64())
			}
			must(b, os.WriteFile(filepath.Join(d, fmt.Sprintf("file%02d_%d.py", j, i)), buf[:r.IntN(43300)], 0o644))
		}
	}
	return dir
}

func BenchmarkUnchanged(b *testing.B) {
	dir, cache := grow(b), filepath.Join(b.TempDir(), "cache")
	run(b, dir, cache)
	b.ReportAllocs()
	for b.Loop() {
		run(b, dir, cache)
	}
}

func BenchmarkFirst(b *testing.B) {
	dir := grow(b)
	b.ReportAllocs()
	for b.Loop() {
		run(b, dir, "")
	}
}

func BenchmarkOneFile(b *testing.B) {
	dir, cache := grow(b), filepath.Join(b.TempDir(), "cache")
	run(b, dir, cache)
	for b.Loop() {
		c, err := Open(dir, Options{Cache: cache})
		must(b, err)
		ms, err := selection.Select(bg, c, "pkg01/mod00/sub1/file00_1.py", selection.Options{})
		must(b, err)
		_, err = selection.Sum(bg, c, ms[0].Items)
		must(b, err)
		must(b, c.Close())
	}
}

func BenchmarkWalk(b *testing.B) {
	dir, cache := grow(b), filepath.Join(b.TempDir(), "cache")
	run(b, dir, cache)
	for b.Loop() {
		c, err := Open(dir, Options{Cache: cache})
		must(b, err)
		must(b, c.walk(bg, ""))
		must(b, c.Close())
	}
}

func run(b *testing.B, dir, cache string) {
	c := openLater(b, dir, Options{Cache: cache})
	sumAll(b, c)
	must(b, c.Close())
}
