package layers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store/disk"
)

// addMade puts the layer of files into the store as a COPY does, as a delta of earlier unless that is "".
func addMade(t *testing.T, ls *Layers, earlier digest.Digest, files map[string]string) digest.Digest {
	t.Helper()
	var entries []*layer.Entry
	for _, path := range slices.Sorted(maps.Keys(files)) {
		e := &layer.Entry{Path: path, Type: layer.File, Mode: 0o644, ModTime: 1e9, Size: int64(len(files[path])), Digest: digest.FromString(files[path])}
		entries = append(entries, e)
	}
	toc, err := layer.NewTOC(entries)
	must(t, err)
	table, err := toc.Encoded()
	must(t, err)
	open := func(_ context.Context, e *layer.Entry) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(files[e.Path])), nil
	}
	dir, err := ls.session.Temp("copy")
	must(t, err)
	write, name := func(ctx context.Context, f *os.File, open layer.OpenFunc) (*layer.Tar, error) {
		return layer.WriteEncodedTarFile(ctx, f, table, open)
	}, formTar
	if earlier != "" {
		e, err := ls.Earlier(t.Context(), earlier)
		must(t, err)
		defer e.Close()
		write, name = layer.Assemble(table, &e.Earlier).WriteDelta, DeltaFile
	}
	f, err := os.Create(filepath.Join(dir, name))
	must(t, err)
	made, err := write(t.Context(), f, open)
	must(t, errors.Join(err, f.Close()))
	_, err = ls.AddMade(made, dir)
	must(t, err)
	return made.DiffID
}

// randomFiles are files of 5 MB together, none of which is like another.
func randomFiles(rnd *rand.Rand) map[string]string {
	files := map[string]string{}
	for i := range 50 {
		files[fmt.Sprintf("d%d/f%02d", i/10, i)] = randomText(rnd)
	}
	return files
}

func randomText(rnd *rand.Rand) string {
	text := make([]byte, 50_000+rnd.IntN(100_000))
	for i := 0; i < len(text); i += 7 {
		text[i] = byte(rnd.Uint32())
	}
	return string(text)
}

// edited is files with some edits.
func edited(rnd *rand.Rand, files map[string]string) map[string]string {
	files = maps.Clone(files)
	paths := slices.Sorted(maps.Keys(files))
	for range 1 + rnd.IntN(4) {
		path := paths[rnd.IntN(len(paths))]
		switch rnd.IntN(4) {
		case 0:
			delete(files, path)
		case 1:
			files[path+".new"] = randomText(rnd)
		case 2:
			files[path] = ""
		default:
			files[path] = randomText(rnd)
		}
	}
	return files
}

// A layer whose tar is a delta, or a delta of what is one, is what it would be as a whole, in all forms.
func TestDelta(t *testing.T) {
	needIndexes(t)
	for seed := range uint64(3) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		root := t.TempDir()
		ls := newLayers(t, root)
		files := randomFiles(rnd)
		base := addMade(t, ls, "", files)
		files = edited(rnd, files)
		first := addMade(t, ls, base, files)
		small := addTar(t, ls, map[string]string{"d1/": "", "d1/f11": "other", "d2/": "", "d2/.wh.f22": ""})
		files = edited(rnd, files)
		second := addMade(t, ls, first, files)
		whole := addMade(t, newLayers(t, t.TempDir()), "", files)
		if whole != second {
			t.Fatalf("seed %d: the delta of a delta is %s and not %s", seed, second, whole)
		}
		if d, err := ls.delta(second); err != nil || d.Base != base {
			t.Fatalf("seed %d: its base is %v, %v", seed, d, err)
		}
		if l, err := ls.Layer(second); err != nil || l.Disk > 1<<20 {
			t.Errorf("seed %d: it takes %d bytes, %v", seed, l.Disk, err)
		}
		for _, forms := range []Forms{AutoForms, IndexForms, MergedForms, TreeForms} {
			ls := newLayers(t, root).WithForms(forms)
			for _, chain := range [][]digest.Digest{{first}, {base, first, small, second}, {first, small}} {
				checkMounted(t, ls, chain)
			}
		}
		ls = newLayers(t, root)
		for _, d := range []digest.Digest{first, second} {
			l, err := ls.Layer(d)
			must(t, err)
			must(t, l.WriteTar(t.Context(), io.Discard))
			if bad, err := ls.Verify(t.Context(), d); bad != nil || err != nil {
				t.Errorf("seed %d: it is damaged: %+v, %v", seed, bad, err)
			}
			checkFiles(t, l)
		}
	}
}

// checkMounted mounts a chain layer by layer, and compares what each lower shows with what it is to show.
func checkMounted(t *testing.T, ls *Layers, chain []digest.Digest) {
	t.Helper()
	lowers, err := ls.Lowers(t.Context(), chain, nil)
	must(t, err)
	must(t, lowers.Trusted(t.Context()))
	top := len(chain)
	for _, lo := range lowers.All {
		some := chain[top-lo.Layers : top]
		top -= lo.Layers
		stack, err := ls.Stack(some)
		must(t, err)
		want, err := stack.Flatten(t.Context())
		must(t, err)
		if lo.Layers == 1 { // with its whiteouts
			l, err := ls.Layer(some[0])
			must(t, err)
			want, err = l.TOC(t.Context())
			must(t, err)
		}
		dir := lo.Dir
		if lo.Index != "" {
			dir = mountLower(t, lo)
		}
		if err := layer.VerifyTree(t.Context(), want, dir); err != nil {
			t.Errorf("%s of %d layers: %v", ls.forms, lo.Layers, err)
		}
		if damaged, err := ls.CheckIndexes(t.Context(), some[len(some)-1]); err != nil || len(damaged) != 0 {
			t.Errorf("%s: damaged indexes: %v, %v", ls.forms, damaged, err)
		}
	}
}

// checkFiles reads what Files gives of a layer.
func checkFiles(t *testing.T, l *Layer) {
	t.Helper()
	f, err := l.Files(t.Context())
	must(t, err)
	defer f.Close()
	toc, err := l.TOC(t.Context())
	must(t, err)
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	must(t, err)
	defer root.Close()
	for _, e := range toc.Entries {
		if e.Type != layer.File {
			continue
		}
		if data, err := root.ReadFile(e.Path); err != nil || digest.FromBytes(data) != e.Digest {
			t.Errorf("%s has %d other bytes, %v", e.Path, len(data), err)
		}
	}
}

// What is wrong with a delta may be wrong with its base, which is set aside too, and with it all that is a delta of it.
func TestRottenBase(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 5))
	ls := newLayers(t, t.TempDir())
	files := randomFiles(rnd)
	base := addMade(t, ls, "", files)
	first := addMade(t, ls, base, edited(rnd, files))
	second := addMade(t, ls, base, edited(rnd, files))
	data, err := os.ReadFile(ls.Path(base, formTar))
	must(t, err)
	data[2_000_000] ^= 1
	f, err := os.OpenFile(ls.Path(base, formTar), os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt(data, 0)
	must(t, errors.Join(err, f.Close()))
	l, err := ls.Layer(first) // this process has looked at all seals
	must(t, err)
	if err := l.WriteTar(t.Context(), io.Discard); err == nil {
		t.Error("it is read")
	}
	for _, d := range []digest.Digest{base, first, second} {
		if disk.Exists(ls.Path(d)) {
			t.Errorf("%s is still here", d)
		}
		if _, err := ls.Layer(d); err == nil {
			t.Errorf("%s is still known", d)
		}
	}
}

// A delta without its base is damaged, and so is one of a base that was written to.
func TestDeltaOfADamagedBase(t *testing.T) {
	for name, damage := range map[string]func(ls *Layers, base digest.Digest) error{
		"gone":        func(ls *Layers, base digest.Digest) error { return os.RemoveAll(ls.Path(base)) },
		"without tar": func(ls *Layers, base digest.Digest) error { return os.Remove(ls.Path(base, formTar)) },
		"shorter":     func(ls *Layers, base digest.Digest) error { return os.Truncate(ls.Path(base, formTar), 1<<20) },
		"made a delta": func(ls *Layers, base digest.Digest) error {
			return os.Rename(ls.Path(base, formTar), ls.Path(base, DeltaFile))
		},
		"with its seals": func(ls *Layers, base digest.Digest) error {
			return errors.Join(os.Truncate(ls.Path(base, formTar), 9), os.Remove(ls.Path(base, sealFile)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			rnd, root := rand.New(rand.NewPCG(1, 4)), t.TempDir()
			ls := newLayers(t, root)
			files := randomFiles(rnd)
			base := addMade(t, ls, "", files)
			d := addMade(t, ls, base, edited(rnd, files))
			must(t, damage(ls, base))
			ls = newLayers(t, root)
			l, err := ls.Layer(d)
			must(t, err)
			if bad, err := ls.VerifyEntries(t.Context(), d); bad == nil || !bad.Whole || err != nil {
				t.Errorf("of its entries: %+v, %v", bad, err)
			}
			if _, err := ls.Lowers(t.Context(), []digest.Digest{d}, nil); err == nil {
				t.Error("it is mounted")
			}
			if l.Present() || disk.Exists(ls.Path(d)) {
				t.Error("it is still here")
			}
		})
	}
}
