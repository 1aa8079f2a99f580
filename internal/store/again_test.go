package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/strata-build/strata/internal/layer"
)

// addEmpty adds the layer of a step that changed nothing, as such a step does.
func addEmpty(t *testing.T, s *Store) *Layer {
	t.Helper()
	dir, err := s.Temp("again")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "fs"), 0o755); err != nil {
		t.Fatal(err)
	}
	made, err := layer.DiffTree(t.Context(), filepath.Join(dir, "fs"), layer.Mounted{Stack: &layer.Stack{}}, layer.DiffOptions{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.AddLayer(made.DiffID, made.Encoded, dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the folder is still there")
	}
	return l
}

// The same layer made again is dropped, whether it is still here or somebody has removed it meanwhile, which puts the
// new one in its place.
func TestLayerMadeAgain(t *testing.T) {
	s := open(t, t.TempDir())
	first := addEmpty(t, s)
	for _, removed := range []bool{false, true, false} {
		if removed {
			if err := os.RemoveAll(s.Path(first.DiffID)); err != nil {
				t.Fatal(err)
			}
		}
		if l := addEmpty(t, s); l.DiffID != first.DiffID || l.ContentID != first.ContentID || l.Disk != first.Disk {
			t.Errorf("%+v, want %+v", l, first)
		}
		for _, form := range []string{"fs", "toc", "seal"} {
			if _, err := os.Stat(s.Path(first.DiffID, form)); err != nil {
				t.Error(err)
			}
		}
	}
}

// A layer made again whose table of contents cannot be read back is an error: its content ID would be another layer's.
func TestLayerMadeAgainOfABadTable(t *testing.T) {
	s := open(t, t.TempDir())
	first := addEmpty(t, s)
	var kept *os.File
	table := layer.NewEncoded(func() (*os.File, error) {
		f, err := os.Create(filepath.Join(t.TempDir(), "table"))
		kept = f
		return f, err
	})
	for i := range 20_000 {
		e := &layer.Entry{Path: fmt.Sprintf("%06d", i), Type: layer.Symlink, Mode: 0o777, Link: strings.Repeat("x", 200)}
		if err := table.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	defer kept.Close()
	if err := kept.Truncate(0); err != nil {
		t.Fatal(err)
	}
	dir, err := s.Temp("again")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddLayer(first.DiffID, table, dir); !errors.Is(err, io.EOF) {
		t.Errorf("adding it: %v", err)
	}
	if l, err := s.Layer(first.DiffID); err != nil || l.ContentID != first.ContentID {
		t.Errorf("the layer is %+v now: %v", l, err)
	}
}
