package store

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// What is damaged is made again of what is not, by whoever meets it.
func TestHeal(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(s *Store, d digest.Digest) error
		use    func(t *testing.T, s *Store, d digest.Digest) error
		err    string // "" if the use heals it at once
		gone   bool   // the record is no hit any more: the step makes the layer again
	}{
		{"empty table of contents", func(s *Store, d digest.Digest) error { return os.Truncate(s.Path(d, "toc"), 0) }, readTOC, "", false},
		{"no tree and no tar", func(s *Store, d digest.Digest) error { return os.Remove(s.Path(d, "tar")) }, readTree, "cannot be had", true},
		{"no folder", func(s *Store, d digest.Digest) error { return os.RemoveAll(s.Path(d)) }, readTree, "cannot be had", true},
		{"nothing whole", func(s *Store, d digest.Digest) error {
			return errors.Join(os.Truncate(s.Path(d, "toc"), 3), os.Truncate(s.Path(d, "tar"), 600))
		}, readTOC, "cannot be had", true},
		{"flipped bit in a tar", func(s *Store, d digest.Digest) error {
			data, err := os.ReadFile(s.Path(d, "tar"))
			return errors.Join(err, os.WriteFile(s.Path(d, "tar"), bytes.Replace(data, []byte("some"), []byte("somf"), 1), 0o600))
		}, func(_ *testing.T, s *Store, d digest.Digest) error {
			return layerOf(s, d).WriteTar(t.Context(), io.Discard)
		},
			"set aside: build the image again", true},
		{"flipped bit, made again", func(s *Store, d digest.Digest) error {
			data, err := os.ReadFile(s.Path(d, "tar"))
			return errors.Join(err, os.WriteFile(s.Path(d, "tar"), bytes.Replace(data, []byte("some"), []byte("somf"), 1), 0o600))
		}, func(t *testing.T, s *Store, d digest.Digest) error {
			addLayer(t, s, "f", "something")
			return layerOf(s, d).WriteTar(t.Context(), io.Discard)
		}, "", false},
		{"damaged tree of a sound tar, made again", func(s *Store, d digest.Digest) error {
			tree, err := layerOf(s, d).Tree(t.Context())
			return errors.Join(err, os.Truncate(tree+"/f", 1))
		}, func(t *testing.T, s *Store, d digest.Digest) error {
			addLayer(t, s, "f", "something")
			return readTree(t, s, d)
		}, "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			s := open(t, root)
			d := addLayer(t, s, "f", "something")
			key := digest.FromString("key")
			err := errors.Join(s.PutRecord(Record{Key: key, Layer: d, Data: []byte("{}")}), test.damage(s, d))
			if err != nil {
				t.Fatal(err)
			}
			s = open(t, root) // another process, which remembers nothing
			err = test.use(t, s, d)
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("it gives %v and not %q", err, test.err)
			}
			if _, err := s.Record(key); errors.Is(err, ErrNotFound) != test.gone {
				t.Errorf("the record: %v", err)
			}
			addLayer(t, s, "f", "something")
			if err := readTree(t, s, d); err != nil {
				t.Errorf("after it was made again: %v", err)
			}
		})
	}
}

// A check that reads no data makes no table of contents of a tar that is damaged itself: it says that the layer is.
func TestCheckTarWithoutTOC(t *testing.T) {
	for name, damage := range map[string]func(tar string) error{
		"cut short": func(tar string) error { return os.Truncate(tar, 600) },
		"flipped bit": func(tar string) error {
			data, err := os.ReadFile(tar)
			return errors.Join(err, os.WriteFile(tar, bytes.Replace(data, []byte("some"), []byte("somf"), 1), 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir())
			d := addLayer(t, s, "f", "something")
			if err := errors.Join(os.Truncate(s.Path(d, "toc"), 3), damage(s.Path(d, "tar"))); err != nil {
				t.Fatal(err)
			}
			r, err := s.Check(t.Context(), CheckOptions{Repair: true})
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Problems) != 1 || r.Problems[0].Digest != d || !strings.Contains(r.Problems[0].Wrong, "the tar has the digest") {
				t.Errorf("it found %+v", r.Problems)
			}
			if _, err := os.Lstat(s.Path(d)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the layer is still there: %v", err)
			}
		})
	}
}

// layerOf is a layer that is known.
func layerOf(s *Store, d digest.Digest) *Layer {
	l, err := s.Layer(d)
	if err != nil {
		panic(err)
	}
	return l
}

func readTOC(t *testing.T, s *Store, d digest.Digest) error {
	toc, err := layerOf(s, d).TOC(t.Context())
	if err == nil && toc.Lookup("f") == nil {
		err = errors.New("the table of contents has no f")
	}
	return err
}

func readTree(t *testing.T, s *Store, d digest.Digest) error {
	tree, err := layerOf(s, d).Tree(t.Context())
	if err != nil {
		return err
	}
	if data, err := os.ReadFile(tree + "/f"); err != nil || string(data) != "something" {
		return errors.Join(err, errors.New("the tree has "+string(data)))
	}
	return nil
}

// A layer of which nothing is known any more cannot be had, like one that is known to be gone: who forgot it was
// faster.
func TestForgottenLayer(t *testing.T) {
	s := open(t, t.TempDir())
	d := digest.FromString("forgotten")
	_, stackErr := s.Stack([]digest.Digest{d})
	_, lowersErr := s.Lowers(t.Context(), []digest.Digest{d}, nil)
	for _, err := range []error{stackErr, lowersErr} {
		var gone *UnavailableError
		if !errors.As(err, &gone) || gone.DiffID != d || !errors.Is(gone.Cause, ErrNowhere) {
			t.Errorf("%v", err)
		}
	}
}
