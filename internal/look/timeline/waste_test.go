package timeline_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/look/timeline"
)

// image is the timeline of layers, the lowest first.
func image(t *testing.T, layers ...[]*layer.Entry) *timeline.Timeline {
	t.Helper()
	tl := timeline.New()
	for _, entries := range layers {
		toc, err := layer.NewTOC(entries)
		if err != nil {
			t.Fatal(err)
		}
		err = tl.Add(func(fn func(*layer.Entry) error) error {
			for _, e := range toc.Entries {
				if err := fn(e); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return tl
}

type entries = []*layer.Entry

func dir(path string) *layer.Entry { return &layer.Entry{Path: path, Type: layer.Dir, Mode: 0o755} }

func file(path string, mode uint32, contents string) *layer.Entry {
	return &layer.Entry{Path: path, Type: layer.File, Mode: mode, Size: int64(len(contents)), Digest: digest.FromString(contents)}
}

func link(path, to string) *layer.Entry {
	return &layer.Entry{Path: path, Type: layer.Hardlink, Link: to}
}

func gone(path string) *layer.Entry { return &layer.Entry{Path: path, Type: layer.Whiteout} }

func TestFind(t *testing.T) {
	for _, c := range []struct {
		name   string
		layers []entries
		want   []string // "path: layer of the bytes, sign and layer of who hides them, what, bytes"
		stored int64
	}{
		{"nothing", nil, nil, 0},
		{"one layer", []entries{{file("a", 0o644, "aaaa")}}, nil, 4},
		{"removed", []entries{{file("a", 0o644, "aaaa")}, {gone("a")}}, []string{"a: 0 -1  4"}, 4},
		{"removed with its directory", []entries{{dir("d"), file("d/a", 0o644, "aa"), file("d/b", 0o644, "bbb")}, {gone("d")}},
			[]string{"d/b: 0 -1  3", "d/a: 0 -1  2"}, 5},
		{"written over", []entries{{file("a", 0o644, "aaaa")}, {file("a", 0o644, "bb")}}, []string{"a: 0 ~1 content 4"}, 6},
		{"another mode", []entries{{file("a", 0o644, "aaaa")}, {file("a", 0o755, "aaaa")}}, []string{"a: 0 ~1 mode 4"}, 8},
		{"the same again", []entries{{file("a", 0o644, "aaaa")}, {file("a", 0o644, "aaaa")}}, []string{"a: 0 =1  4"}, 8},
		{"empty", []entries{{file("a", 0o644, "")}, {gone("a")}}, nil, 0},
		{"twice, and there at last", []entries{{file("a", 0o644, "aaaa")}, {gone("a")}, {file("a", 0o644, "bb")}, {file("a", 0o644, "c")}},
			[]string{"a: 0 -1  4", "a: 2 ~3 content 2"}, 7},
		{"hidden by a directory that lets nothing through", []entries{
			{dir("d"), file("d/a", 0o644, "aaaa"), file("d/b", 0o644, "b")},
			{{Path: "d", Type: layer.Dir, Mode: 0o755, Opaque: true}, file("d/b", 0o644, "b")},
		}, []string{"d/a: 0 -1  4", "d/b: 0 =1  1"}, 6},
		{"a file in the place of a directory", []entries{{dir("d"), file("d/a", 0o644, "aaaa")}, {file("d", 0o644, "x")}}, []string{"d/a: 0 -1  4"}, 5},
		{"a hard link counts once", []entries{{file("a", 0o644, "aaaa"), link("b", "a")}, {gone("a"), gone("b")}}, []string{"a: 0 -1  4"}, 4},
		{"a hard link that stays", []entries{{file("a", 0o644, "aaaa"), link("b", "a")}, {gone("a")}}, nil, 4},
		{"a hard link that goes", []entries{{file("a", 0o644, "aaaa"), link("b", "a")}, {gone("b")}}, nil, 4},
		{"a hard link that was made again", []entries{{file("a", 0o644, "aaaa"), link("b", "a")}, {gone("a"), file("b", 0o644, "c")}},
			[]string{"a: 0 -1  4"}, 5},
		{"equal sizes in the order of the paths", []entries{{file("a", 0o644, "1"), file("b", 0o644, "22"), file("c", 0o644, "3")}, {gone("c"), gone("b"), gone("a")}},
			[]string{"b: 0 -1  2", "a: 0 -1  1", "c: 0 -1  1"}, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			tl := image(t, c.layers...)
			r := timeline.FindWaste(tl)
			var got []string
			var bytes int64
			for _, it := range r.Items {
				got = append(got, fmt.Sprintf("%s: %d %c%d %v %d", tl.Path(it.Node), it.Layer, it.Kind, it.By, it.What, it.Size))
				bytes += it.Size
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("(-expected +found)\n%s", d)
			}
			if r.Bytes != bytes || r.Stored != c.stored {
				t.Errorf("%d of %d bytes are wasted, expected %d of %d", r.Bytes, r.Stored, bytes, c.stored)
			}
		})
	}
}

func TestEfficiency(t *testing.T) {
	for _, c := range []struct {
		bytes, stored int64
		want          float64
	}{{0, 0, 1}, {0, 8, 1}, {2, 8, 0.75}, {8, 8, 0}} {
		if got := (&timeline.Waste{Bytes: c.bytes, Stored: c.stored}).Efficiency(); got != c.want {
			t.Errorf("%d of %d: %v, expected %v", c.bytes, c.stored, got, c.want)
		}
	}
}
