package layer_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

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
	if all.TOC.Lookup("file/same") == nil || all.TOC.Lookup("symlink") == nil || all.TOC.Lookup("same") != nil {
		t.Errorf("with KeepFiles: %q", paths(all.TOC))
	}
	made, err := layer.DiffTree(t.Context(), upper, below, layer.DiffOptions{})
	must(t, err)
	want := []string{
		"file", "file/alone", "file/alone/a", "file/alone/b", "file/bytes", "file/mode", "file/nanoseconds",
		"file/new", "file/new/a", "file/new/b", "file/owner", "file/truncated",
		"mode", "owner", "parent", "parent/child", "retargeted",
	}
	if d := cmp.Diff(want, paths(made.TOC)); d != "" {
		t.Errorf("paths (-want +got):\n%s", d)
	}
	must(t, layer.VerifyTree(t.Context(), made.TOC, upper))
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
