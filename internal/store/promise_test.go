package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// waits says whether closing the store would wait for the log of meta.db, which cannot be opened meanwhile.
func waits(t *testing.T, s *Store) bool {
	t.Helper()
	log := filepath.Join(s.Root(), "meta.db-wal")
	if err := errors.Join(os.Rename(log, log+"-away"), os.Symlink(log, log)); err != nil {
		t.Fatal(err)
	}
	err := s.Sync()
	if err := errors.Join(os.Remove(log), os.Rename(log+"-away", log)); err != nil {
		t.Fatal(err)
	}
	return err != nil
}

// A command waits for the rows that it promised, and for no others.
func TestPromises(t *testing.T) {
	s := open(t, t.TempDir())
	one, other := addFor(t, s, "amd64", "one"), addFor(t, s, "amd64", "other")
	if !waits(t, s) {
		t.Error("a new image is not waited for")
	}
	ref := named(t, "app:1")
	name := func(id, manifest digest.Digest) func() error {
		return func() error { _, err := s.SetName(ref, id, manifest); return err }
	}
	images := func(ids ...digest.Digest) func() error {
		return func() error { return s.SetImages(ref, ids, "") }
	}
	arm := addFor(t, s, "arm64", "one")
	waits(t, s)
	for _, step := range []struct {
		what string
		do   func() error
		want bool
	}{
		{"a new name", name(one, ""), true},
		{"the same again", name(one, ""), false},
		{"another image", name(other, ""), true},
		{"its manifest", func() error { return s.SetManifest(ref, []digest.Digest{other}, "index") }, true},
		{"the same manifest", func() error { return s.SetManifest(ref, []digest.Digest{other}, "index") }, false},
		{"a manifest of an image that it does not mean", func() error { return s.SetManifest(ref, []digest.Digest{one}, "x") }, false},
		{"images for two platforms", images(other, arm), true},
		{"the same images", images(other, arm), false},
		{"the other one first", images(arm, other), true},
		{"one of them", func() error { return s.AddImage(ref, one, "", false, false) }, true},
		{"it again", func() error { return s.AddImage(ref, one, "", false, false) }, false},
		{"no name", func() error { _, err := s.RemoveName(ref); return err }, true},
		{"a use", func() error { return s.Touch(one) }, false},
		{"a record without a layer", func() error {
			return s.PutRecord(Record{Key: digest.FromString("key"), Data: []byte("{}"), Made: time.Now()})
		}, false},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		if got := waits(t, s); got != step.want {
			t.Errorf("%s is waited for: %v", step.what, got)
		}
	}
}
