package layers

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/erofs"
	"github.com/strata-build/strata/internal/layer/layertest"
)

// addTar puts a layer with files into the store; a name that ends in / is a directory, one with .wh. a whiteout.
func addTar(t *testing.T, ls *Layers, files map[string]string) digest.Digest {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(files[name])), ModTime: time.Unix(1e9, 0)}
		if strings.HasSuffix(name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		must(t, w.WriteHeader(h))
		_, err := io.WriteString(w, files[name])
		must(t, err)
	}
	must(t, w.Close())
	d := digest.FromBytes(b.Bytes())
	_, err := ls.AddTar(t.Context(), d, bytes.NewReader(b.Bytes()))
	must(t, err)
	return d
}

func needIndexes(t *testing.T) {
	t.Helper()
	if err := erofs.Mountable(t.TempDir()); err != nil {
		t.Skip(err)
	}
}

// Each of Forms gives the lower layers that it says, and what is there is not made again.
func TestLowers(t *testing.T) {
	needIndexes(t)
	root := t.TempDir()
	ls := newLayers(t, root)
	var chain []digest.Digest
	for i := range 9 {
		chain = append(chain, addTar(t, ls, map[string]string{"d/": "", fmt.Sprint("d/f", i): "text"}))
	}
	served := make([]bool, 9)
	served[2] = true
	for _, test := range []struct {
		forms  Forms
		served []bool
		layers []int // of each lower, the topmost first
		trees  bool
	}{
		{IndexForms, nil, []int{1, 1, 1, 1, 1, 1, 1, 1, 1}, false},
		{MergedForms, nil, []int{9}, false},
		{AutoForms, nil, []int{9}, false},
		{MergedForms, served, []int{1, 1, 1, 1, 1, 1, 1, 2}, false},
		{AutoForms, served, []int{1, 1, 1, 1, 1, 1, 1, 1, 1}, false},
		{TreeForms, nil, []int{1, 1, 1, 1, 1, 1, 1, 1, 1}, true},
	} {
		made := map[string]time.Time{}
		for range 2 {
			lowers, err := newLayers(t, root).WithForms(test.forms).Lowers(t.Context(), chain, test.served)
			must(t, err)
			must(t, lowers.Trusted(t.Context()))
			var layers []int
			for _, lo := range lowers.All {
				layers = append(layers, lo.Layers)
				path := lo.Index + lo.Dir
				if path == "" {
					continue // it is served
				}
				if (lo.Dir != "") != test.trees || len(lo.Tars) != lo.Layers && !test.trees {
					t.Errorf("%s: a lower is %+v", test.forms, lo)
				}
				st, err := os.Stat(path)
				must(t, err)
				if before, ok := made[path]; ok && !before.Equal(st.ModTime()) {
					t.Errorf("%s: %s was made again", test.forms, path)
				}
				made[path] = st.ModTime()
			}
			if !slices.Equal(layers, test.layers) {
				t.Errorf("%s, served %v: lowers of %v layers, want %v", test.forms, test.served, layers, test.layers)
			}
			if got := len(Dirs(lowers.All)); got != len(chain) {
				t.Errorf("%s: %d directories of %d layers", test.forms, got, len(chain))
			}
		}
	}
}

// TestLowersOfEmptyLayers: empty layers are no lower layers, and every place of the chain has its directory all the
// same.
func TestLowersOfEmptyLayers(t *testing.T) {
	root := t.TempDir()
	ls := newLayers(t, root).WithForms(TreeForms)
	empty := addTar(t, ls, nil)
	if empty != layer.EmptyDiffID {
		t.Fatalf("the empty layer is %s", empty)
	}
	a, b := addTar(t, ls, map[string]string{"a": "a"}), addTar(t, ls, map[string]string{"b": "b"})
	dir := func(d digest.Digest) string { return ls.Path(d, formTree) }
	for _, test := range []struct {
		chain  []digest.Digest
		served []bool
		dirs   []string // of each place, the topmost first
		lowers int
	}{
		{[]digest.Digest{a, b}, nil, []string{dir(b), dir(a)}, 2},
		{[]digest.Digest{empty, empty, a, empty, b, empty}, nil, []string{dir(b), dir(b), dir(a), dir(a), dir(a), dir(a)}, 2},
		{[]digest.Digest{a, empty, b}, []bool{true, false, false}, []string{dir(b), "", ""}, 2},
		{[]digest.Digest{empty, empty}, nil, []string{dir(empty), dir(empty)}, 1},
		{[]digest.Digest{a, empty}, []bool{false, true}, []string{"", dir(a)}, 2},
	} {
		lowers, err := ls.Lowers(t.Context(), test.chain, test.served)
		must(t, err)
		must(t, lowers.Trusted(t.Context()))
		if got := Dirs(lowers.All); !slices.Equal(got, test.dirs) || len(lowers.All) != test.lowers {
			t.Errorf("%v, served %v: %d lowers in %v, want %d in %v", test.chain, test.served, len(lowers.All), got, test.lowers, test.dirs)
		}
	}
}

// TestChainOfUnknownLayer: a layer of which nothing is known is told from the others of its chain.
func TestChainOfUnknownLayer(t *testing.T) {
	ls := newLayers(t, t.TempDir())
	known, unknown := addTar(t, ls, map[string]string{"a": "a"}), digest.FromString("unknown")
	for _, chain := range [][]digest.Digest{{unknown}, {known, unknown, known}} {
		_, err := ls.Chain(chain)
		var unavailable *UnavailableError
		if !errors.As(err, &unavailable) || unavailable.DiffID != unknown {
			t.Errorf("%v: %v", chain, err)
		}
	}
	layers, err := ls.Chain([]digest.Digest{known, known})
	must(t, err)
	if len(layers) != 2 || layers[0].DiffID != known || layers[1].DiffID != known {
		t.Errorf("the same layer twice: %v", layers)
	}
}

// mountLower mounts an index.
func mountLower(t *testing.T, lo Lower) string {
	t.Helper()
	index, err := os.Open(lo.Index)
	must(t, err)
	defer index.Close()
	fd, err := lo.Open(index)
	must(t, err)
	defer unix.Close(fd)
	at := t.TempDir()
	must(t, unix.MoveMount(fd, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH))
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	return at
}

// A merged index shows what the layers show together, whatever is in them.
func TestMergedIndex(t *testing.T) {
	needIndexes(t)
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		ls := newLayers(t, t.TempDir()).WithForms(MergedForms)
		var chain []digest.Digest
		for i := range 2 + rnd.IntN(5) {
			files := map[string]string{fmt.Sprint("only-", i): "x"}
			for range rnd.IntN(40) {
				dir := strings.Repeat("d/", rnd.IntN(3))
				switch name := fmt.Sprint(dir, rnd.IntN(12)); rnd.IntN(6) {
				case 0:
					files[dir+".wh."+filepath.Base(name)] = ""
				case 1:
					files[dir+".wh..wh..opq"] = ""
				default:
					files[name] = strings.Repeat(fmt.Sprint(i, name), rnd.IntN(300))
				}
			}
			chain = append(chain, addTar(t, ls, files))
		}
		lowers, err := ls.Lowers(t.Context(), chain, nil)
		must(t, err)
		if len(lowers.All) != 1 || lowers.All[0].Index == "" {
			t.Fatalf("seed %d: %+v", seed, lowers.All)
		}
		stack, err := ls.Stack(chain)
		must(t, err)
		want, err := stack.Flatten(t.Context())
		must(t, err)
		if err := layer.VerifyTree(t.Context(), want, mountLower(t, lowers.All[0])); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		if damaged, err := ls.CheckIndexes(t.Context(), chain[len(chain)-1]); err != nil || len(damaged) != 0 {
			t.Errorf("seed %d: damaged: %v, %v", seed, damaged, err)
		}
	}
}

// An index that somebody has written to is made again, also of a table of contents that has to be made again itself.
func TestDamagedIndex(t *testing.T) {
	needIndexes(t)
	for name, damage := range map[string]func(dir string) error{
		"missing": func(dir string) error { return os.Remove(filepath.Join(dir, formIndex)) },
		"cut":     func(dir string) error { return os.Truncate(filepath.Join(dir, formIndex), 1024) },
		"with the toc": func(dir string) error {
			return errors.Join(os.Truncate(filepath.Join(dir, formIndex), 9), os.Truncate(filepath.Join(dir, formTOC), 9))
		},
		"without seals": func(dir string) error { return os.Remove(filepath.Join(dir, sealFile)) },
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			ls := newLayers(t, root).WithForms(IndexForms)
			d := addTar(t, ls, map[string]string{"f": "text", "g": "more"})
			lower := func() Lower {
				lowers, err := newLayers(t, root).WithForms(IndexForms).Lowers(t.Context(), []digest.Digest{d}, nil)
				must(t, err)
				return lowers.All[0]
			}
			lower()
			time.Sleep(20 * time.Millisecond) // the kernel's clock for times of files ticks every 4 to 10 ms
			must(t, damage(ls.Path(d)))
			if name == "cut" {
				if damaged, err := ls.CheckIndexes(t.Context(), d); err != nil || len(damaged) != 1 {
					t.Errorf("a check finds %v, %v", damaged, err)
				}
			}
			if got, err := os.ReadFile(filepath.Join(mountLower(t, lower()), "f")); err != nil || string(got) != "text" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// A sparse file is not in one piece in a tar: such a layer is a tree.
func TestSparseIsNoIndex(t *testing.T) {
	needIndexes(t)
	ls := newLayers(t, t.TempDir()).WithForms(MergedForms)
	data := layertest.GNUSparse("f", 1<<20)
	d := digest.FromBytes(data)
	_, err := ls.AddTar(t.Context(), d, bytes.NewReader(data))
	must(t, err)
	lowers, err := ls.Lowers(t.Context(), []digest.Digest{addTar(t, ls, map[string]string{"a": "a"}), d}, nil)
	must(t, err)
	if len(lowers.All) != 2 || lowers.All[0].Dir == "" || lowers.All[1].Index == "" {
		t.Errorf("%+v", lowers.All)
	}
}

// However many chains a layer is mounted on, no more than a few merged indexes of it stay; one that somebody removed
// is made again.
func TestOldMergedIndexes(t *testing.T) {
	needIndexes(t)
	ls := newLayers(t, t.TempDir()).WithForms(MergedForms)
	top := addTar(t, ls, map[string]string{"top": "top"})
	var last Lower
	for i := range 2 * maxMerged {
		chain := []digest.Digest{addTar(t, ls, map[string]string{fmt.Sprint(i): "x"}), top}
		for range 2 {
			lowers, err := ls.Lowers(t.Context(), chain, nil)
			must(t, err)
			last = lowers.All[0]
			if _, err := os.ReadFile(filepath.Join(mountLower(t, last), "top")); err != nil {
				t.Error(err)
			}
			must(t, os.Remove(last.Index))
		}
		lowers, err := ls.Lowers(t.Context(), chain, nil)
		must(t, err)
		last = lowers.All[0]
		time.Sleep(20 * time.Millisecond) // the kernel's clock for times of files ticks every 4 to 10 ms
	}
	left, err := filepath.Glob(ls.Path(top, mergedPrefix+"*"))
	must(t, err)
	if len(left) != maxMerged || !slices.Contains(left, last.Index) {
		t.Errorf("%d merged indexes: %q, the last was %s", len(left), left, last.Index)
	}
}
