package main

import (
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// seed makes the inputs the same on every machine.
const seed = 20260801

// makeFiles writes a context of so many files and, to within a few bytes each, so many bytes, unless it
// is there already. Sizes are spread like those of a source tree with its dependencies: many small files
// and some of a hundred times their size. Then it reads everything once, so that no builder is the one to
// find it on the disk.
func makeFiles(dir string, files int, bytes int64) error {
	if _, err := os.Stat(dir); err != nil {
		if err := writeFiles(dir+".new", files, bytes); err != nil {
			return err
		}
		if err := os.Rename(dir+".new", dir); err != nil {
			return err
		}
	}
	return filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(io.Discard, f)
		return err
	})
}

func writeFiles(dir string, files int, bytes int64) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := writeDockerfile(dir, "FROM busybox\nCOPY . /files/\n"); err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(seed, seed))
	weights := make([]float64, files)
	sum := 0.0
	for i := range weights {
		weights[i] = random.ExpFloat64() * random.ExpFloat64()
		sum += weights[i]
	}
	content := rand.NewChaCha8([32]byte{seed % 251})
	for i, weight := range weights {
		data := make([]byte, int64(weight/sum*float64(bytes)))
		content.Read(data)
		name := filepath.Join(dir, nameOf(i))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// nameOf spreads the files over directories of 100, these over directories of 10.
func nameOf(i int) string {
	return fmt.Sprintf("package-%02d/module-%d/file-%05d", i/1000, i/100%10, i)
}
