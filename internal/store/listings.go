package store

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
)

// maxListings is how many listings are kept: 1.2 MB each for a mount of 20,000 files.
const maxListings = 32

// PutListing remembers what a RUN's mount showed, under the digest that stands for it in the step's key, so that a later
// build can say which file is another. Losing it costs an explanation, no step.
func (s *Store) PutListing(sum digest.Digest, t *layer.TOC) error {
	final := s.path("listings", sum.Encoded())
	now := time.Now()
	if os.Chtimes(final, now, now) == nil {
		return nil
	}
	dir, err := s.Temp("listing")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "listing")
	err = s.writeTOC(file, t)
	if err == nil {
		err = os.MkdirAll(s.path("listings"), 0o700)
	}
	if err == nil {
		err = os.Rename(file, final)
	}
	if err == nil {
		err = s.dropListings()
	}
	if err != nil {
		return fmt.Errorf("remembering what a mount showed: %w%s", err, hint(err))
	}
	return nil
}

// dropListings removes the oldest beyond maxListings.
func (s *Store) dropListings() error {
	old, err := beyond(s.path("listings"), maxListings)
	if err != nil {
		return err
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// beyond lists what is in a folder besides the most newly written entries, of which there may be most.
func beyond(dir string, most int) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) <= most {
		return nil, err
	}
	age := map[string]int64{}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			age[e.Name()] = info.ModTime().UnixNano()
		}
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(age[a.Name()], age[b.Name()]) })
	var old []string
	for _, e := range entries[:len(entries)-most] {
		old = append(old, filepath.Join(dir, e.Name()))
	}
	return old, nil
}

// Listing returns what PutListing remembered; ErrNotFound if that is forgotten.
func (s *Store) Listing(sum digest.Digest) (*layer.TOC, error) {
	data, err := os.ReadFile(s.path("listings", sum.Encoded()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing %s: %w", sum, ErrNotFound)
	}
	t := &layer.TOC{}
	if err == nil {
		err = t.Decode(bytes.NewReader(data))
	}
	if err != nil {
		return nil, fmt.Errorf("reading what a mount showed: %w", err)
	}
	return t, nil
}
