package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// powerCut ends the process that has the store open, and has the machine start again.
func powerCut(t *testing.T, s *Store, marks ...string) {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(s.Root(), "tmp", "*-*"))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("%d sessions, %v", len(dirs), err)
	}
	for _, link := range []string{filepath.Join(s.Root(), "boot"), filepath.Join(dirs[0], "boot")} {
		if err := errors.Join(os.Remove(link), os.Symlink("another", link)); err != nil {
			t.Fatal(err)
		}
	}
	found, err := os.ReadDir(filepath.Join(dirs[0], "unsynced"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if len(found) != len(marks) {
		t.Errorf("marked are %v and not %v", found, marks)
	}
	if err := s.Leave(); err != nil {
		t.Fatal(err)
	}
}

// What was marked is verified when the store is opened after the machine started again: what is
// incomplete goes, the rest stays.
func TestRecover(t *testing.T) {
	root := t.TempDir()
	s, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	old := addLayer(t, s, "old", "synced long ago")
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	m, err := s.CacheMount(t.Context(), CacheMountOptions{ID: "cache"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Sync(); err != nil { // no Sync is enough for what is still written to
		t.Fatal(err)
	}
	whole, cut, gone := addLayer(t, s, "a", "complete"), addLayer(t, s, "b", "cut short"), addLayer(t, s, "c", "without a folder")
	keys := map[digest.Digest]digest.Digest{}
	for _, d := range []digest.Digest{old, whole, cut, gone} {
		keys[d] = digest.FromString("key " + d.String())
		if err := s.PutRecord(Record{Key: keys[d], Layer: d, Data: []byte("{}")}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Truncate(s.Path(cut, "tar"), 0), os.RemoveAll(s.Path(gone))); err != nil {
		t.Fatal(err)
	}
	powerCut(t, s, "whole", "cut", "gone", "mount")

	s = open(t, root)
	if got := s.Lost(); !strings.Contains(got, "2 layers, 1 other thing") {
		t.Errorf("it says %q", got)
	}
	for d, want := range map[digest.Digest]bool{old: true, whole: true, cut: false, gone: false} {
		_, err := s.Record(keys[d])
		l, lerr := s.Layer(d)
		if (err == nil) != want || (lerr == nil && l.Present()) != want {
			t.Errorf("%s: record %v, layer %v", d, err, lerr)
		}
	}
	if _, err := os.Stat(m.Dir); !os.IsNotExist(err) {
		t.Errorf("the cache mount that was written to is still there: %v", err)
	}
	if again := open(t, root); again.Lost() != "" {
		t.Errorf("the next process says %q", again.Lost())
	}
}

// A process that did not wait for the disk leaves that to the next one.
func TestLeave(t *testing.T) {
	root := t.TempDir()
	s, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	d := addLayer(t, s, "a", "something")
	marked := func() []string {
		marks, err := filepath.Glob(filepath.Join(root, "tmp", "*", "unsynced", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return marks
	}
	if len(marked()) != 1 {
		t.Errorf("marked are %v", marked())
	}
	if err := s.Leave(); err != nil {
		t.Fatal(err)
	}
	if len(marked()) != 1 {
		t.Errorf("after it left, marked are %v", marked())
	}
	s = open(t, root)
	if l, err := s.Layer(d); err != nil || !l.Present() || s.Lost() != "" || len(marked()) != 0 {
		t.Errorf("the next process finds %v, says %q, and marked are %v", err, s.Lost(), marked())
	}
}
