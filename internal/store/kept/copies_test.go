package kept

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store/session"
)

func open(t *testing.T, root string) *Kept {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(root, "tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	se, err := session.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { se.Close() })
	return New(root, se)
}

// keep keeps a copy of one file of 40,000 bytes, and returns where it is.
func keep(t *testing.T, s *Kept, name string) string {
	t.Helper()
	dir, err := s.session.Temp("mount")
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
	tree, err := s.KeepContextCopy(name, &Copy{TOC: toc, Times: []int64{1_500_000_000}}, dir)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// A copy comes back as it was kept, stays while a process uses it, and goes with the cache otherwise.
func TestContextCopy(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	tree := keep(t, s, "one")
	if want := filepath.Join(root, "laid", "one", "fs"); tree != want {
		t.Errorf("kept as %s, want %s", tree, want)
	}
	l, err := s.ContextCopy("one")
	if err != nil || l == nil || l.Dir != tree || len(l.TOC.Entries) != 1 || l.TOC.Entries[0].Size != 40_000 || l.Times[0] != 1_500_000_000 {
		t.Fatalf("found %+v, %v", l, err)
	}
	if other, err := s.ContextCopy("two"); other != nil || err != nil {
		t.Errorf("another name: %+v, %v", other, err)
	}

	second := open(t, root)
	if other := keep(t, second, "one"); other == tree {
		t.Error("a copy that is in use was replaced")
	}
	if freed, err := second.Remove(filepath.Dir(tree)); freed != 0 || err != nil {
		t.Fatal(freed, err)
	}
	if _, err := os.Stat(filepath.Join(tree, "file")); err != nil {
		t.Errorf("a copy that is in use was pruned: %v", err)
	}
	if err := s.session.Close(); err != nil {
		t.Fatal(err)
	}
	if uses, err := second.Uses(); err != nil || len(uses) != 1 || uses[0].Disk < 40_000 {
		t.Errorf("what is kept is %+v, %v", uses, err)
	}
	if freed, err := second.Remove(filepath.Dir(tree)); freed < 40_000 || err != nil {
		t.Fatal(freed, err)
	}
	if l, err := second.ContextCopy("one"); l != nil || err != nil {
		t.Errorf("found after it was removed: %+v, %v", l, err)
	}
}

// No more than maxCopies copies are kept, those used last.
func TestContextCopiesAreLimited(t *testing.T) {
	root := t.TempDir()
	for i := range maxCopies + 3 {
		s := open(t, root)
		dir := filepath.Dir(keep(t, s, strconv.Itoa(i)))
		at := time.Now().Add(time.Duration(i-100) * time.Minute)
		if err := os.Chtimes(dir, at, at); err != nil {
			t.Fatal(err)
		}
		if err := s.session.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, root)
	entries, err := os.ReadDir(filepath.Join(root, "laid"))
	if err != nil || len(entries) != maxCopies {
		t.Errorf("%d are kept, %v", len(entries), err)
	}
	if l, err := s.ContextCopy("2"); l != nil || err != nil {
		t.Errorf("the oldest is kept: %v", err)
	}
	if l, err := s.ContextCopy("3"); l == nil || err != nil {
		t.Errorf("a younger one is gone: %v", err)
	}
}

// What cannot be read counts as none.
func TestContextCopyDamaged(t *testing.T) {
	for _, file := range []string{"toc", "times", "fs/file", "seal"} {
		root := t.TempDir()
		s := open(t, root)
		keep(t, s, "one")
		if err := os.WriteFile(filepath.Join(root, "laid", "one", file), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if l, err := s.ContextCopy("one"); l != nil || err != nil {
			t.Errorf("%s: %+v, %v", file, l, err)
		}
	}
}
