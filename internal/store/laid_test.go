package store

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/strata-build/strata/internal/layer"
)

// keep keeps a copy of one file of 40,000 bytes, and returns where it is.
func keep(t *testing.T, s *Store, name string) string {
	t.Helper()
	dir, err := s.Temp("mount")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "fs"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "fs", "file"), make([]byte, 40_000), 0o644); err != nil {
		t.Fatal(err)
	}
	toc, err := layer.NewTOC([]*layer.Entry{{Path: "file", Type: layer.File, Size: 40_000, Mode: 0o644}})
	if err != nil {
		t.Fatal(err)
	}
	tree, err := s.KeepLaid(name, &Laid{TOC: toc, Times: []int64{1_500_000_000}}, dir)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// A copy comes back as it was kept, stays while a process uses it, and goes with the cache otherwise.
func TestLaid(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	tree := keep(t, s, "one")
	if want := filepath.Join(root, "laid", "one", "fs"); tree != want {
		t.Errorf("kept as %s, want %s", tree, want)
	}
	l, err := s.Laid("one")
	if err != nil || l == nil || l.Dir != tree || len(l.TOC.Entries) != 1 || l.TOC.Entries[0].Size != 40_000 || l.Times[0] != 1_500_000_000 {
		t.Fatalf("found %+v, %v", l, err)
	}
	if other, err := s.Laid("two"); other != nil || err != nil {
		t.Errorf("another name: %+v, %v", other, err)
	}

	second := open(t, root)
	if other := keep(t, second, "one"); other == tree {
		t.Error("a copy that is in use was replaced")
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Dir(tree), old, old); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Limit(0, PruneOptions{All: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(tree, "file")); err != nil {
		t.Errorf("a copy that is in use was pruned: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if size, err := second.CacheSize(); err != nil || size < 40_000 {
		t.Errorf("the cache takes %d, %v", size, err)
	}
	if _, err := second.Limit(0, PruneOptions{All: true}); err != nil {
		t.Fatal(err)
	}
	if l, err := second.Laid("one"); l != nil || err != nil {
		t.Errorf("found after the limit: %+v, %v", l, err)
	}
}

// No more than maxLaid copies are kept, those used last.
func TestLaidAreDropped(t *testing.T) {
	root := t.TempDir()
	for i := range maxLaid + 3 {
		s := open(t, root)
		dir := filepath.Dir(keep(t, s, strconv.Itoa(i)))
		at := time.Now().Add(time.Duration(i-100) * time.Minute)
		if err := os.Chtimes(dir, at, at); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, root)
	entries, err := os.ReadDir(filepath.Join(root, "laid"))
	if err != nil || len(entries) != maxLaid {
		t.Errorf("%d are kept, %v", len(entries), err)
	}
	if l, err := s.Laid("2"); l != nil || err != nil {
		t.Errorf("the oldest is kept: %v", err)
	}
	if l, err := s.Laid("3"); l == nil || err != nil {
		t.Errorf("a younger one is gone: %v", err)
	}
}

// What cannot be read counts as none.
func TestLaidDamaged(t *testing.T) {
	for _, file := range []string{"toc", "times"} {
		root := t.TempDir()
		s := open(t, root)
		keep(t, s, "one")
		if err := os.WriteFile(filepath.Join(root, "laid", "one", file), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if l, err := s.Laid("one"); l != nil || err != nil {
			t.Errorf("%s: %+v, %v", file, l, err)
		}
	}
}
