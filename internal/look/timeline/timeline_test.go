package timeline

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
)

func eachOf(toc *layer.TOC) func(func(*layer.Entry) error) error {
	return func(fn func(*layer.Entry) error) error {
		for _, e := range toc.Entries {
			if err := fn(e); err != nil {
				return err
			}
		}
		return nil
	}
}

func toc(t testing.TB, entries ...*layer.Entry) *layer.TOC {
	t.Helper()
	made, err := layer.NewTOC(entries)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func timeline(t testing.TB, layers ...*layer.TOC) *Timeline {
	t.Helper()
	tl := New()
	for _, l := range layers {
		if err := tl.Add(eachOf(l)); err != nil {
			t.Fatal(err)
		}
	}
	return tl
}

func dir(path string) *layer.Entry { return &layer.Entry{Path: path, Type: layer.Dir, Mode: 0o755} }

func file(path, contents string) *layer.Entry {
	return &layer.Entry{Path: path, Type: layer.File, Mode: 0o644, Size: int64(len(contents)), Digest: digest.FromString(contents)}
}

func gone(path string) *layer.Entry { return &layer.Entry{Path: path, Type: layer.Whiteout} }

// story is what happened to a path, the oldest first: "0+ 1~content 2-".
func story(tl *Timeline, path string) string {
	var words []string
	for e := range tl.Events(tl.Find(path)) {
		word := fmt.Sprintf("%d%c", e.Layer, e.Kind)
		if e.Kind == Changed {
			word += e.What.String()
		}
		words = append(words, word)
	}
	slices.Reverse(words)
	return fmt.Sprint(words)
}

func TestEvents(t *testing.T) {
	tl := timeline(t,
		toc(t, dir("a"), file("a/changed", "1"), file("a/gone", "x"), file("a/same", "s"), dir("b"), file("b/x", "x"), file("b/y", "y"), dir("c"), file("c/x", "x"), file("d", "d")),
		toc(t, dir("a"), file("a/changed", "22"), gone("a/gone"), file("a/same", "s"),
			&layer.Entry{Path: "b", Type: layer.Dir, Mode: 0o700, Opaque: true}, file("b/y", "y"), file("c", "now a file"), dir("d"), file("d/e", "e"),
			file("e", "first"), &layer.Entry{Path: "f", Type: layer.Hardlink, Link: "e"}),
		toc(t, gone("b"), dir("c"), file("c/x", "again")),
	)
	for path, want := range map[string]string{
		"a":         "[0+ 1=]",
		"a/changed": "[0+ 1~content]",
		"a/gone":    "[0+ 1-]",
		"a/same":    "[0+ 1=]",
		"b":         "[0+ 1~mode 2-]",
		"b/x":       "[0+ 1-]",
		"b/y":       "[0+ 1= 2-]",
		"c":         "[0+ 1~type, mode 2~type, mode]",
		"c/x":       "[0+ 1- 2+]",
		"d":         "[0+ 1~type, mode]",
		"d/e":       "[1+]",
		"f":         "[1+]",
	} {
		if got := story(tl, path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	f, _ := tl.At(tl.Find("f"), 2)
	if f.Size != 5 || !f.Hardlink || f.Stored() != 0 {
		t.Errorf("hard link: %+v", f)
	}
	// c, which became a file, counts as one; d is a directory now, and counts as that, like b.
	want := Stats{Added: 3, Changed: 2, Removed: 3, Dirs: 2, Stored: 2 + 1 + 1 + 10 + 1 + 5}
	if diff := cmp.Diff(want, tl.Stats(1)); diff != "" {
		t.Error(diff)
	}
	if tl.Find("nowhere/at/all") != None || tl.Path(tl.Find("c/x")) != "c/x" {
		t.Error("Find or Path is wrong")
	}
}

// randomLayer makes a layer over a small set of paths, so that everything meets everything.
func randomLayer(t *testing.T, r *rand.Rand) *layer.TOC {
	entries := map[string]*layer.Entry{}
	var fill func(parent string, depth int)
	var files []string
	fill = func(parent string, depth int) {
		for _, name := range []string{"a", "a-b", "b", "c"} {
			path := join(parent, name)
			switch k := r.IntN(12); {
			case k < 3 && depth < 3:
				entries[path] = &layer.Entry{Path: path, Type: layer.Dir, Mode: 0o700 + uint32(r.IntN(2)), Opaque: r.IntN(6) == 0}
				fill(path, depth+1)
			case k < 6:
				entries[path] = file(path, fmt.Sprint(r.IntN(3)))
				entries[path].ModTime = int64(r.IntN(2))
				files = append(files, path)
			case k == 6:
				entries[path] = gone(path)
			case k == 7:
				entries[path] = &layer.Entry{Path: path, Type: layer.Symlink, Mode: 0o777, Link: fmt.Sprint(r.IntN(2))}
			case k == 8 && len(files) > 0:
				entries[path] = &layer.Entry{Path: path, Type: layer.Hardlink, Link: files[r.IntN(len(files))]}
			}
		}
	}
	fill("", 0)
	var list []*layer.Entry
	for _, e := range entries {
		list = append(list, e)
	}
	return toc(t, list...)
}

// TestAgainstStacks holds the timeline of random layers against the merged views that package layer makes.
func TestAgainstStacks(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		var layers []*layer.TOC
		for range 1 + r.IntN(5) {
			layers = append(layers, randomLayer(t, r))
		}
		tl := timeline(t, layers...)
		before := map[string]layer.Entry{}
		for i := range layers {
			var sources []layer.Source
			for _, l := range layers[:i+1] {
				sources = append(sources, layer.TarSource("", l))
			}
			now := map[string]layer.Entry{}
			err := layer.NewStack(sources...).Walk(t.Context(), "", func(e *layer.Entry) error {
				kept := *e
				kept.Opaque, kept.Offset, kept.Digest = false, 0, ""
				now[e.Path] = kept
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]layer.Entry{}
			tl.Walk(Root, func(n Node) bool {
				e, ok := tl.At(n, i)
				if !ok || e.Kind == Removed {
					return false
				}
				path := tl.Path(n)
				got[path] = layer.Entry{Path: path, Type: e.Type, Mode: e.Mode, Size: e.Size, ModTime: e.ModTime, Link: e.Link}
				if _, was := before[path]; e.Layer == i && path != "" && was != (e.Kind != Added) {
					t.Errorf("seed %d, layer %d: %s is %c, was there: %v", seed, i, path, e.Kind, was)
				}
				return true
			})
			if diff := cmp.Diff(now, got); diff != "" {
				t.Fatalf("seed %d, layer %d (-stack +timeline):\n%s", seed, i, diff)
			}
			removed := 0
			for path, e := range before {
				if _, ok := now[path]; !ok && e.Type != layer.Dir {
					removed++
				}
			}
			if s := tl.Stats(i); s.Removed != removed || s.Stored != layers[i].Size() {
				t.Fatalf("seed %d, layer %d: %+v, want %d removed and %d bytes", seed, i, s, removed, layers[i].Size())
			}
			before = now
		}
	}
}

// BenchmarkMillion says how long a million files take, and how much memory they keep.
func BenchmarkMillion(b *testing.B) {
	var entries []*layer.Entry
	for i := range 1_000_000 {
		if i%1000 == 0 {
			entries = append(entries, dir(fmt.Sprintf("dir%03d", i/1000)))
		}
		entries = append(entries, file(fmt.Sprintf("dir%03d/some-file-%06d.txt", i/1000, i), fmt.Sprint(i)))
	}
	var encoded bytes.Buffer
	if err := toc(b, entries...).Encode(&encoded); err != nil {
		b.Fatal(err)
	}
	entries = nil
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		tl := New()
		err := tl.Add(func(fn func(*layer.Entry) error) error { return layer.EachEntry(bytes.NewReader(encoded.Bytes()), fn) })
		if err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB")
		runtime.KeepAlive(tl)
	}
}
