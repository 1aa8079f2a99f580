package copier

import (
	"context"
	"errors"
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
	s := newStore(t)
	first, opened := copyAll(t, s, dir)
	if opened != 150 {
		t.Errorf("the first layer opened %d files", opened)
	}
	edit := func(name, text string) { must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)) }
	edit("file070", "changed")
	second, opened := copyAll(t, s, dir, "", first)
	if opened != 1 {
		t.Errorf("the layer of an edit opened %d files", opened)
	}
	if want, _ := copyAll(t, newStore(t), dir); want != second {
		t.Errorf("it is %s, made anew it is %s", second, want)
	}
	edit("file071", "changed too")
	third, opened := copyAll(t, s, dir, "", second)
	if want, _ := copyAll(t, newStore(t), dir); want != third || opened != 1 && !s.KeepsTars() || opened > 2 {
		t.Errorf("of an edit of an edit it is %s, with %d files opened; made anew it is %s", third, opened, want)
	}
	if s.KeepsTars() {
		st, err := os.Stat(filepath.Join(s.Root(), "layers", third.Encoded(), "delta"))
		must(t, err)
		if st.Size() > 1<<20 {
			t.Errorf("two edits wrote %d bytes", st.Size())
		}
	}
}

// newStore is an empty store.
func newStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.TempDir())
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// damage writes into a file of a layer's folder.
func damage(t *testing.T, s *store.Store, diffID digest.Digest, name string, at int64) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(s.Root(), "layers", diffID.Encoded(), name), os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("damage"), at)
	must(t, errors.Join(err, f.Close()))
}

// A tar that somebody has written to is not as it was sealed, and neither is a delta of it.
func TestLayerOfAnEditOfADamagedTar(t *testing.T) {
	for _, c := range []struct {
		file   string
		at     int64
		ofBase bool
	}{{"tar", 3_000_000, true}, {"delta", 600, false}, {"delta-of", 30, false}} {
		dir := t.TempDir()
		for i := range 150 {
			must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("file%03d", i)), make([]byte, 100_000), 0o644))
		}
		s := newStore(t)
		if !s.KeepsTars() && !c.ofBase {
			continue
		}
		first, _ := copyAll(t, s, dir)
		must(t, os.WriteFile(filepath.Join(dir, "file070"), []byte("changed"), 0o644))
		second, _ := copyAll(t, s, dir, first)
		must(t, os.WriteFile(filepath.Join(dir, "file140"), []byte("changed"), 0o644))
		want, _ := copyAll(t, newStore(t), dir)
		damaged := second
		if c.ofBase && s.KeepsTars() {
			damaged = first
		}
		damage(t, s, damaged, c.file, c.at)
		again, err := store.Open(s.Root()) // a process looks at a seal once
		must(t, err)
		defer again.Close()
		l, err := again.Layer(second)
		must(t, err)
		if got, opened := copyAll(t, again, dir, second); got != want || opened != 150 {
			t.Errorf("%s: it is %s, with %d files opened; made anew it is %s", c.file, got, opened, want)
		}
		if _, err := l.TOC(t.Context()); err != nil {
			t.Errorf("%s: %v", c.file, err)
		}
		if err := l.WriteTar(t.Context(), io.Discard); err == nil {
			t.Errorf("%s: the damaged layer is read", c.file)
		}
		if _, err := again.Layer(second); err == nil {
			t.Errorf("%s: the damaged layer is still known", c.file)
		}
	}
}

// What an instruction makes again is not a delta of itself.
func TestLayerMadeAgain(t *testing.T) {
	dir := t.TempDir()
	for i := range 150 {
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("file%03d", i)), make([]byte, 100_000), 0o644))
	}
	s := newStore(t)
	first, _ := copyAll(t, s, dir)
	must(t, os.WriteFile(filepath.Join(dir, "file070"), []byte("changed"), 0o644))
	second, _ := copyAll(t, s, dir, first)
	again, _ := copyAll(t, s, dir, second, first)
	must(t, os.WriteFile(filepath.Join(dir, "file070"), make([]byte, 100_000), 0o644))
	back, _ := copyAll(t, s, dir, second, first)
	if again != second {
		t.Errorf("made again it is %s and not %s", again, second)
	}
	if len(back) == 0 {
		t.Fatal("nothing was made")
	}
	for _, d := range []digest.Digest{first, second, back} {
		l, err := s.Layer(d)
		must(t, err)
		must(t, l.WriteTar(t.Context(), io.Discard))
	}
}

func TestLayerOfAnEditOfATarDamagedBelowItsSeal(t *testing.T) {
	for _, c := range []struct {
		edited string
		read   bool // what is damaged is read for the layer of the edit
	}{{"file010", true}, {"file140", false}} {
		dir := t.TempDir()
		for i := range 150 {
			must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("file%03d", i)), make([]byte, 100_000), 0o644))
		}
		s := newStore(t)
		first, _ := copyAll(t, s, dir)
		damage(t, s, first, "tar", 3_000_000) // this process has looked at the seal, so it trusts what the disk makes of the tar
		must(t, os.WriteFile(filepath.Join(dir, c.edited), []byte("changed"), 0o644))
		want, _ := copyAll(t, newStore(t), dir)
		got, _ := copyAll(t, s, dir, first)
		if got != want {
			t.Errorf("it is %s, made anew it is %s", got, want)
		}
		if l, err := s.Layer(first); c.read && err == nil && l.Present() {
			t.Error("the damaged layer is not set aside")
		}
		l, err := s.Layer(got) // no delta of what is not as it was sealed, though nobody has read the damage
		must(t, err)
		must(t, l.WriteTar(t.Context(), io.Discard))
	}
}
