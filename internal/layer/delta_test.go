package layer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// listed is a layer of which only the table of contents counts.
type listed struct{ treeSource }

func sameEntry(a, b *Entry) bool { return Differences(a, b) == 0 }

// randomTree makes a tree of few names, so that two of them often have a path in common.
func randomTree(t *testing.T, r *rand.Rand) *TOC {
	t.Helper()
	entries := []*Entry{{Type: Dir, Mode: 0o755}}
	var files []string
	var fill func(dir string, depth int)
	fill = func(dir string, depth int) {
		for _, name := range []string{"a", "b", "c"} {
			path := dir + name
			e := &Entry{Path: path, Type: File, Mode: 0o644, Size: r.Int64N(2)}
			switch n := r.IntN(10); {
			case n < 2:
				continue
			case n < 5 && depth < 3:
				e.Type, e.Mode, e.Size = Dir, 0o700+uint32(r.IntN(2)), 0
			case n == 5:
				e.Type, e.Size, e.Link = Symlink, 0, "a"
			case n == 6 && len(files) > 0:
				e.Type, e.Size, e.Link = Hardlink, 0, files[r.IntN(len(files))]
			default:
				files = append(files, path)
			}
			entries = append(entries, e)
			if e.Type == Dir {
				fill(path+"/", depth+1)
			}
		}
	}
	fill("", 0)
	toc, err := NewTOC(entries)
	if err != nil {
		t.Fatal(err)
	}
	return toc
}

// What a delta says on top of the tree that it was made for is the other tree.
func TestDelta(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		below, want := randomTree(t, r), randomTree(t, r)
		delta, err := Delta(below, want, sameEntry)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		got, err := NewStack(listed{treeSource{toc: below}}, listed{treeSource{toc: delta}}).Flatten(t.Context())
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if diff := cmp.Diff(lines(want), lines(got)); diff != "" {
			t.Fatalf("seed %d: -want +got\n%s\nbelow %v\ndelta %v", seed, diff, lines(below), lines(delta))
		}
	}
}

// lines names the entries, those of one file by the first of its names.
func lines(t *TOC) []string {
	var out []string
	for _, e := range t.Entries {
		out = append(out, fmt.Sprintf("%c %s %o %d %s", e.Type, e.Path, e.Mode, e.Size, e.Link))
	}
	return out
}

// A delta holds what changed and the way to it, nothing else.
func TestDeltaIsSmall(t *testing.T) {
	tree := func(entries ...*Entry) *TOC {
		toc, err := NewTOC(entries)
		if err != nil {
			t.Fatal(err)
		}
		return toc
	}
	dir := func(path string) *Entry { return &Entry{Path: path, Type: Dir, Mode: 0o755} }
	file := func(path string, size int64) *Entry { return &Entry{Path: path, Type: File, Mode: 0o644, Size: size} }
	link := func(path, to string) *Entry { return &Entry{Path: path, Type: Hardlink, Link: to} }
	below := tree(dir(""), dir("d"), dir("d/e"), file("d/e/x", 1), file("d/y", 1), file("one", 1), link("two", "one"), dir("z"), file("z/x", 1))
	for _, c := range []struct {
		name string
		now  *TOC
		want []string
	}{
		{"nothing", below, nil},
		{"a file deep inside", tree(dir(""), dir("d"), dir("d/e"), file("d/e/x", 2), file("d/y", 1), file("one", 1), link("two", "one"), dir("z"), file("z/x", 1)),
			[]string{"d ", "d d", "d d/e", "f d/e/x"}},
		{"a directory gone", tree(dir(""), file("one", 1), link("two", "one"), dir("z"), file("z/x", 1)), []string{"d ", "w d"}},
		{"a file in the place of a directory", tree(dir(""), file("d", 1), file("one", 1), link("two", "one"), dir("z"), file("z/x", 1)),
			[]string{"d ", "f d"}},
		{"one more name of a file", tree(dir(""), dir("d"), dir("d/e"), file("d/e/x", 1), file("d/y", 1), file("one", 1), link("two", "one"), dir("z"), file("z/x", 1), link("z/y", "one")),
			[]string{"d ", "f one", "h two", "d z", "h z/y"}},
		{"one name less", tree(dir(""), dir("d"), dir("d/e"), file("d/e/x", 1), file("d/y", 1), file("one", 1), dir("z"), file("z/x", 1)),
			[]string{"d ", "f one", "w two"}},
	} {
		delta, err := Delta(below, c.now, sameEntry)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range delta.Entries {
			got = append(got, string(e.Type)+" "+e.Path)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
