package copier

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/source/buildcontext"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/selection"
	"github.com/strata-build/strata/internal/store"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// counted is a tree that counts the files that are opened.
type counted struct {
	layer.Tree
	opened *int
}

func (c counted) Open(ctx context.Context, e *layer.Entry) (io.ReadCloser, error) {
	*c.opened++
	return c.Tree.Open(ctx, e)
}

// copyAll makes the layer of a COPY of all that is in dir, and says how many files were opened for it.
func copyAll(t *testing.T, s *store.Store, dir string, earlier ...digest.Digest) (made digest.Digest, opened int) {
	t.Helper()
	files, err := buildcontext.Open(dir, buildcontext.Options{})
	must(t, err)
	defer files.Close()
	tree := counted{files, new(int)}
	matches, err := selection.Select(t.Context(), tree, ".", selection.Options{})
	must(t, err)
	for _, m := range matches {
		_, err := selection.Sum(t.Context(), tree, m.Items)
		must(t, err)
	}
	sel := &Selection{Tree: tree, Matches: matches, Counts: []int{len(matches)}, Context: true}
	w, err := New(s, nil, dialect.Of("").Copy).Copy(t.Context(), layer.NewStack(), &dockerfile.Copy{Dest: ""}, sel)
	must(t, err)
	defer w.Close()
	w.Reuse(func() []digest.Digest { return earlier })
	made, err = w.Commit(t.Context(), s, false)
	must(t, err)
	return made, *tree.opened
}

func TestLayerOfAnEdit(t *testing.T) {
	dir, rnd := t.TempDir(), rand.NewChaCha8([32]byte{})
	text := make([]byte, 100_000)
	for i := range 150 {
		_, _ = rnd.Read(text)
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("file%03d", i)), text, 0o644))
	}
	s, err := store.Open(t.TempDir())
	must(t, err)
	defer s.Close()
	other, err := store.Open(t.TempDir())
	must(t, err)
	defer other.Close()
	first, opened := copyAll(t, s, dir)
	if opened != 150 {
		t.Errorf("the first layer opened %d files", opened)
	}
	must(t, os.WriteFile(filepath.Join(dir, "file070"), []byte("changed"), 0o644))
	second, opened := copyAll(t, s, dir, "", first)
	if opened != 1 {
		t.Errorf("the layer of an edit opened %d files", opened)
	}
	if want, _ := copyAll(t, other, dir); want != second {
		t.Errorf("it is %s, made anew it is %s", second, want)
	}

	// A tar that somebody has written to is not as it was sealed.
	tar := filepath.Join(s.Root(), "layers", second.Encoded(), "tar")
	f, err := os.OpenFile(tar, os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("damage"), 3_000_000)
	must(t, err)
	must(t, f.Close())
	must(t, os.WriteFile(filepath.Join(dir, "file140"), []byte("changed"), 0o644))
	again, err := store.Open(s.Root()) // a process looks at a seal once
	must(t, err)
	defer again.Close()
	want, _ := copyAll(t, other, dir)
	if got, opened := copyAll(t, again, dir, second); got != want || opened != 150 {
		t.Errorf("of a damaged tar it is %s, with %d files opened; made anew it is %s", got, opened, want)
	}
}

func TestLayerOfAnEditOfATarDamagedBelowItsSeal(t *testing.T) {
	dir := t.TempDir()
	for i := range 150 {
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("file%03d", i)), make([]byte, 100_000), 0o644))
	}
	s, err := store.Open(t.TempDir())
	must(t, err)
	defer s.Close()
	first, _ := copyAll(t, s, dir)
	// This process has looked at the seal, so it trusts what the disk makes of the tar.
	f, err := os.OpenFile(filepath.Join(s.Root(), "layers", first.Encoded(), "tar"), os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("damage"), 3_000_000)
	must(t, err)
	must(t, f.Close())
	must(t, os.WriteFile(filepath.Join(dir, "file140"), []byte("changed"), 0o644))
	other, err := store.Open(t.TempDir())
	must(t, err)
	defer other.Close()
	want, _ := copyAll(t, other, dir)
	if got, _ := copyAll(t, s, dir, first); got != want {
		t.Errorf("it is %s, made anew it is %s", got, want)
	}
	l, err := s.Layer(first)
	if err == nil && l.Present() {
		t.Error("the damaged layer is not set aside")
	}
}
