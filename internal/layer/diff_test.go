package layer_test

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
)

// What overlayfs copied up is left out where nothing came of it, and only then: see sameDirent of BuildKit's
// util/overlay/overlay_linux.go.
func TestDiffCopiedUp(t *testing.T) {
	needRoot(t)
	const both = `
		mkdir same parent mode time owner
		for f in same bytes truncated owner mode nanoseconds linked/a alone/a new/a; do
			mkdir -p file/$(dirname $f); echo text > file/$f
		done
		ln -s a symlink; ln -s a retargeted; mkfifo fifo; mknod device c 1 3
		ln file/linked/a file/linked/b; cp -p file/alone/a file/alone/b
		find . -exec touch -h -d 2001-02-03 {} +
	`
	lower, upper := mkdir(t, "lower"), mkdir(t, "upper")
	sh(t, lower, both)
	sh(t, upper, both+`
		echo > parent/child; chmod 700 mode; touch time; chown 7 owner
		echo tex2 > file/bytes; echo longer >> file/truncated; chown 7 file/owner; chmod 600 file/mode
		ln -sf b retargeted; touch -h -d 2001-02-03 retargeted file/bytes
		touch -d '2001-02-03 00:00:00.5' file/nanoseconds
		ln -f file/alone/a file/alone/b; ln file/new/a file/new/b
		touch -d 2002-03-04 file/linked
	`)
	toc := diff(t, lower, nil)
	below := layer.Mounted{Stack: layer.NewStack(layer.TreeSource(lower, toc)), Dirs: []string{lower}}
	all, err := layer.DiffTree(t.Context(), upper, below, layer.DiffOptions{KeepFiles: true})
	must(t, err)
	kept := decoded(t, all.Encoded)
	if kept.Lookup("file/same") == nil || kept.Lookup("symlink") == nil || kept.Lookup("same") != nil {
		t.Errorf("with KeepFiles: %q", paths(kept))
	}
	made, err := layer.DiffTree(t.Context(), upper, below, layer.DiffOptions{})
	must(t, err)
	want := []string{
		"file", "file/alone", "file/alone/a", "file/alone/b", "file/bytes", "file/mode", "file/nanoseconds",
		"file/new", "file/new/a", "file/new/b", "file/owner", "file/truncated",
		"mode", "owner", "parent", "parent/child", "retargeted",
	}
	if d := cmp.Diff(want, paths(decoded(t, made.Encoded))); d != "" {
		t.Errorf("paths (-want +got):\n%s", d)
	}
	must(t, layer.VerifyTree(t.Context(), decoded(t, made.Encoded), upper))
	for _, gone := range []string{"same", "time", "file/same", "file/linked", "symlink", "fifo", "device"} {
		if _, err := os.Lstat(filepath.Join(upper, gone)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s stays in the layer's tree: %v", gone, err)
		}
	}
}

func paths(t *layer.TOC) []string {
	var all []string
	for _, e := range t.Entries {
		all = append(all, e.Path)
	}
	return all
}

// plantTree makes a few random files, directories and links, all of them equally old; hard links only where links is
// set.
func plantTree(t *testing.T, rnd *rand.Rand, root string, links bool) {
	t.Helper()
	dirs, files := []string{root}, []string{}
	for range 40 {
		name := filepath.Join(dirs[rnd.IntN(len(dirs))], []string{"a", "b", "a.b", "a-b", "c"}[rnd.IntN(5)])
		if _, err := os.Lstat(name); err == nil {
			continue
		}
		switch k := rnd.IntN(10); {
		case k < 4:
			must(t, os.Mkdir(name, []os.FileMode{0o755, 0o700}[rnd.IntN(8)/7]))
			dirs = append(dirs, name)
		case k == 4:
			must(t, os.Symlink([]string{"a", "b"}[rnd.IntN(2)], name))
		case k == 5 && links && len(files) > 0:
			must(t, os.Link(files[rnd.IntN(len(files))], name))
		case k == 6:
			must(t, unix.Mknod(name, unix.S_IFCHR, 0)) // a whiteout
		default:
			must(t, os.WriteFile(name, []byte{byte('0' + rnd.IntN(2))}, 0o644))
			files = append(files, name)
		}
	}
	sh(t, root, "find . -exec touch -h -d 2001-02-03 {} +")
}

// TestDiffTreeIsDiff: what is told entry by entry whether it is below is what is found of all of them together, and
// what is left of the tree is the layer.
func TestDiffTreeIsDiff(t *testing.T) {
	needRoot(t)
	alone := 0
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 9))
		lower, upper := mkdir(t, "lower"), mkdir(t, "upper")
		plantTree(t, rnd, lower, seed%4 == 0)
		plantTree(t, rnd, upper, seed%4 == 0)
		below := layer.Mounted{Stack: layer.NewStack(layer.TreeSource(lower, diff(t, lower, nil))), Dirs: []string{lower}}
		want, err := layer.Diff(t.Context(), upper, below)
		must(t, err)
		made, err := layer.DiffTree(t.Context(), upper, below, layer.DiffOptions{})
		must(t, err)
		toc := decoded(t, made.Encoded)
		sameTOC(t, "DiffTree", toc, want)
		hashed, err := layer.HashTar(t.Context(), toc, layer.TreeSource(upper, toc).Open)
		must(t, err)
		if hashed.DiffID != made.DiffID || hashed.Size != made.Size {
			t.Errorf("%d: the layer is %s, and that of its tree %s", seed, made.DiffID, hashed.DiffID)
		}
		if left := diff(t, upper, nil); left.Len() > toc.Len()+1 { // and the root
			for _, e := range left.Entries {
				if e.Type != layer.Whiteout && e.Path != "" && toc.Lookup(e.Path) == nil {
					t.Errorf("%d: %s is left", seed, e.Path)
				}
			}
		}
		if seed%4 > 0 && toc.Len() > 0 {
			alone++
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	if alone < 20 {
		t.Errorf("only %d trees have changes and no hard links", alone)
	}
}
