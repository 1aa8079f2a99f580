package layer

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDifferences(t *testing.T) {
	file := Entry{Path: "a", Type: File, Mode: 0o644, Size: 1, Digest: "sha256:1", ModTime: 7, Xattrs: []Xattr{{Name: "user.a", Value: "1"}}}
	for _, test := range []struct {
		name   string
		change func(e *Entry)
		want   Attributes
	}{
		{"nothing", func(*Entry) {}, 0},
		{"path and offset", func(e *Entry) { e.Path, e.Offset = "b", 512 }, 0},
		{"type", func(e *Entry) { e.Type, e.Size, e.Digest, e.Link = Symlink, 0, "", "x" }, AttrType},
		{"size", func(e *Entry) { e.Size = 2 }, AttrContent},
		{"digest", func(e *Entry) { e.Digest = "sha256:2" }, AttrContent},
		{"device", func(e *Entry) { e.Minor = 1 }, AttrContent},
		{"link", func(e *Entry) { e.Link = "x" }, AttrLink},
		{"mode", func(e *Entry) { e.Mode = 0o4644 }, AttrMode},
		{"user", func(e *Entry) { e.UID = 1 }, AttrOwner},
		{"group", func(e *Entry) { e.GID = 1 }, AttrOwner},
		{"attributes", func(e *Entry) { e.Xattrs = nil }, AttrXattrs},
		{"time", func(e *Entry) { e.ModTime = 8 }, AttrTime},
		{"opaque", func(e *Entry) { e.Opaque = true }, AttrOpaque},
		{"several", func(e *Entry) { e.Mode, e.Size = 0o600, 2 }, AttrContent | AttrMode},
	} {
		other := file
		test.change(&other)
		if got := Differences(&file, &other); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
	if got, want := (AttrMode | AttrContent | AttrOpaque).String(), "content, mode, opaque"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestMergeTOCs(t *testing.T) {
	list := func(paths ...string) *TOC {
		toc := &TOC{}
		for _, p := range paths {
			toc.Entries = append(toc.Entries, &Entry{Path: p, Type: Dir})
		}
		return toc
	}
	a, b := list("", "a", "a/x", "a-b"), list("a", "a/y", "c")
	want := []string{" -", "a a", "a/x -", "- a/y", "a-b -", "- c"}
	merged := MergeTOCs(a, b)
	for range 2 { // a sequence can be gone through again
		var got []string
		for x, y := range merged {
			name := func(e *Entry) string {
				if e == nil {
					return "-"
				}
				return e.Path
			}
			got = append(got, fmt.Sprintf("%s %s", name(x), name(y)))
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	}
	for x := range merged {
		if x.Path == "a" {
			break
		}
	}
	var got []int
	for x, y := range MergeSorted([]int{1, 3}, nil, 0, func(x, y int) int { return x - y }) {
		got = append(got, x, y)
	}
	if want := []int{1, 0, 3, 0}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
