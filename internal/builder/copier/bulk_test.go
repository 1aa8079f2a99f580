package copier

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/source/buildcontext"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/selection"
)

// listed is a layer of which nothing but the table of contents is read.
type listed struct{ toc *layer.TOC }

func (l listed) TOC(context.Context) (*layer.TOC, error) { return l.toc, nil }

func (l listed) Open(context.Context, *layer.Entry) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("")), nil
}

// plantRandom makes a few files, directories, links and now and then a hard link.
func plantRandom(t *testing.T, rnd *rand.Rand, dir string) {
	t.Helper()
	old := time.Unix(1_700_000_000, 0)
	var files, dirs []string
	dirs = append(dirs, dir)
	for range 40 {
		name := filepath.Join(dirs[rnd.IntN(len(dirs))], []string{"a", "b", "a.b", "c-d", "e", "f0", "g"}[rnd.IntN(7)])
		if _, err := os.Lstat(name); err == nil {
			continue
		}
		switch k := rnd.IntN(12); {
		case k < 4:
			must(t, os.Mkdir(name, 0o755))
			dirs = append(dirs, name)
		case k == 4:
			must(t, os.Symlink("a", name))
			continue
		case k == 5 && len(files) > 0 && rnd.IntN(4) == 0:
			must(t, os.Link(files[rnd.IntN(len(files))], name))
		default:
			must(t, os.WriteFile(name, []byte(fmt.Sprint("contents ", rnd.IntN(3))), 0o644))
			files = append(files, name)
		}
	}
	for _, name := range append(dirs, files...) {
		must(t, os.Chtimes(name, old, old))
	}
}

// TestBulkIsAsLoose: a draft gives the same layer whether the entries of a directory are kept as a bulk or not, on
// states that have some of them.
func TestBulkIsAsLoose(t *testing.T) {
	kept := 0
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		dir := t.TempDir()
		plantRandom(t, rnd, dir)
		files, err := buildcontext.Open(dir, buildcontext.Options{})
		must(t, err)
		defer files.Close()
		make := func(below layer.Tree, dest, exclude string) *Draft {
			c := &dockerfile.Copy{Dest: dest, Chmod: []string{"", "0750"}[seed%2]}
			o := selection.Options{AllowEmpty: true}
			if exclude != "" {
				o.Exclude = []string{exclude, "!**/e"}
			}
			matches, err := selection.Select(t.Context(), files, ".", o)
			must(t, err)
			for _, m := range matches {
				_, err := selection.Sum(t.Context(), files, m.Items)
				must(t, err)
			}
			sel := &Selection{Tree: files, Matches: matches, Counts: []int{len(matches)}, Context: true}
			w, err := New(nil, nil, dialect.Of("").Copy).Copy(t.Context(), below, c, sel)
			must(t, err)
			w.now = 1_600_000_000
			return w
		}
		dest, exclude := []string{"", "app", "app/x"}[rnd.IntN(3)], []string{"", "**/a"}[rnd.IntN(2)]
		all, err := make(layer.NewStack(), dest, "").Contents(t.Context())
		must(t, err)
		var some []*layer.Entry // what the state has: some entries as they are, and some with another mode
		for _, e := range all.Entries {
			if e.Type == layer.Hardlink || e.Type == layer.Symlink {
				continue
			}
			other := *e
			if e.Type != layer.Dir && rnd.IntN(4) == 0 {
				other.Mode = 0o600
			}
			if e.Type == layer.Dir || rnd.IntN(3) > 0 {
				some = append(some, &other)
			}
		}
		toc, err := layer.NewTOC(some)
		must(t, err)
		state := layer.NewStack(listed{toc})
		bulk, loose := make(state, dest, exclude), make(state, dest, exclude)
		if bulk.bulk != nil {
			kept++
		}
		loose.loosen()
		got, err := bulk.changes(t.Context())
		must(t, err)
		want, err := loose.changes(t.Context())
		must(t, err)
		if d := cmp.Diff(entriesOf(want), entriesOf(got)); d != "" {
			t.Fatalf("seed %d (-loose +bulk):\n%s", seed, d)
		}
		for e := range got.All() {
			if e.Type != layer.File {
				continue
			}
			f, err := bulk.open(t.Context(), e)
			must(t, err)
			b, err := io.ReadAll(f)
			must(t, err)
			f.Close()
			if int64(len(b)) != e.Size {
				t.Errorf("seed %d: %s has %d bytes, want %d", seed, e.Path, len(b), e.Size)
			}
		}
	}
	if kept < 20 {
		t.Errorf("only %d of 60 drafts had a bulk", kept)
	}
}

func entriesOf(t layer.Table) (all []layer.Entry) {
	for e := range t.All() {
		all = append(all, *e)
	}
	return all
}
