package packed

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store"
)

// newCarrier is a carrier of a store that has a mount of one file.
func newCarrier(t *testing.T, m *memory) Carrier {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	mount, err := s.CacheMount(t.Context(), store.CacheMountOptions{ID: name.ID, Sharing: "shared"})
	if err != nil {
		t.Fatal(err)
	}
	write(t, mount.Dir, "file", []byte("contents"))
	if err := mount.Release(); err != nil {
		t.Fatal(err)
	}
	return Carrier{Store: s, Keeper: m}
}

// What a place has lost of a mount is sent again, though the mount is what it was.
func TestSendLost(t *testing.T) {
	for _, test := range []struct {
		what string
		lost func(d *Document) []Blob
		sent bool // the machine knows that it has sent the document
	}{
		{"all", (*Document).Blobs, true},
		{"all, and another machine", (*Document).Blobs, false},
		{"a pack", func(d *Document) []Blob { return d.Packs }, true},
		{"a pack, and another machine", func(d *Document) []Blob { return d.Packs }, false},
		{"the list", func(d *Document) []Blob { return []Blob{d.List} }, true},
	} {
		m := &memory{blobs: map[digest.Digest][]byte{}}
		c := newCarrier(t, m)
		if _, err := c.Send(t.Context(), name, ""); err != nil {
			t.Fatal(err)
		}
		old := *m.doc
		old.Written = old.Written.Add(-2 * fresh)
		m.doc = &old
		for _, b := range test.lost(m.doc) {
			delete(m.blobs, b.Digest)
		}
		if has, err := c.Has(t.Context(), name); has || err != nil {
			t.Errorf("%s: the place has all of it, %v", test.what, err)
		}
		sent := ""
		if test.sent {
			var err error
			if sent, err = c.Sent(t.Context(), name); err != nil || sent == "" {
				t.Fatalf("%q, %v", sent, err)
			}
		}
		if _, err := c.Send(t.Context(), name, sent); err != nil {
			t.Errorf("%s: %v", test.what, err)
		}
		if has, err := c.Has(t.Context(), name); !has || err != nil {
			t.Errorf("%s: it is not sent again, %v", test.what, err)
		}
	}
}

// What has not changed is written anew, where nothing of it is lost, without a blob.
func TestTouch(t *testing.T) {
	m := &memory{blobs: map[digest.Digest][]byte{}}
	c := newCarrier(t, m)
	if _, err := c.Send(t.Context(), name, ""); err != nil {
		t.Fatal(err)
	}
	m.sent = 0
	old := *m.doc
	old.Written = old.Written.Add(-2 * fresh)
	m.doc = &old
	if made, err := c.Send(t.Context(), name, ""); made != nil || err != nil || m.sent > 0 || time.Since(m.doc.Written) > time.Minute {
		t.Errorf("%v, %v, %d bytes, written %s", made, err, m.sent, m.doc.Written)
	}
}

// A directory takes the place of an empty one, whatever its mode, and of no other.
func TestReplace(t *testing.T) {
	for _, mode := range []os.FileMode{0o755, 0o555, 0o500 | os.ModeSetgid} {
		root := t.TempDir()
		made, dir := filepath.Join(root, "temp", "fs"), filepath.Join(root, "mount", "fs")
		write(t, made, "file", nil)
		write(t, dir, "other", nil)
		if err := os.Chmod(made, mode); err != nil {
			t.Fatal(err)
		}
		if err := replace(made, dir); err == nil {
			t.Error("a directory with a file is replaced")
		}
		if _, err := os.Stat(filepath.Join(dir, "other")); err != nil {
			t.Error(err)
		}
		for _, err := range []error{os.Remove(filepath.Join(dir, "other")), os.Chmod(made, mode)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := replace(made, dir); err != nil {
			t.Error(err)
		}
		if st, err := os.Stat(dir); err != nil || st.Mode() != mode|os.ModeDir {
			t.Errorf("mode %v, not %v; %v", st.Mode(), mode, err)
		}
		if err := os.Chmod(dir, 0o755); err != nil { // for who removes it
			t.Fatal(err)
		}
	}
}
