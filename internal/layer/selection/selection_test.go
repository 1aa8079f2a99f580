package selection

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
)

// show writes matches as "path[/] target[=link][!path]…", the path of an item where it is not the match's.
func show(ms []Match) (out []string) {
	for _, m := range ms {
		s := "/" + m.Path
		if m.Dir {
			s += "/"
		}
		for _, it := range collect(m.Items) {
			s += " " + it.Target
			if it.Name != "" {
				s += "@" + it.Name
			}
			if it.Link != "" {
				s += "=" + it.Link
			}
			if it.Entry.Path != m.Entry.Path && it.Entry.Path != m.Entry.Path+"/"+it.Target {
				s += "!" + it.Entry.Path
			}
		}
		out = append(out, s)
	}
	return out
}

func collect(items Items) (all []Item) {
	_ = items(context.Background(), func(it *Item) error {
		all = append(all, *it)
		return nil
	})
	return all
}

// stage is a merged state of another stage: a fixed list of entries.
type stage []layer.Entry

func (s stage) Capabilities() layer.Capabilities { return layer.Capabilities{} }

func (s stage) Lookup(_ context.Context, path string) (*layer.Entry, error) {
	if path == "" {
		return &layer.Entry{Type: layer.Dir}, nil
	}
	for _, e := range s {
		if e.Path == path {
			return &e, nil
		}
	}
	return nil, fs.ErrNotExist
}

func (s stage) ReadDir(_ context.Context, path string) (out []*layer.Entry, err error) {
	for _, e := range s {
		if e.Path != path && layer.Parent(e.Path) == path {
			out = append(out, &e)
		}
	}
	return out, nil
}

func (s stage) Sum(_ context.Context, entries []*layer.Entry) error {
	for _, e := range entries {
		if e.Type == layer.File {
			e.Digest = digest.FromString(e.Path)
		}
	}
	return nil
}

func (s stage) Open(context.Context, *layer.Entry) (io.ReadCloser, error) {
	return nil, errors.ErrUnsupported
}

func TestSelectStage(t *testing.T) {
	s := stage{
		{Path: "bin", Type: layer.Symlink, Link: "/usr/bin"},
		{Path: "esc", Type: layer.Symlink, Link: "../../nope"},
		{Path: "usr", Type: layer.Dir},
		{Path: "usr/bin", Type: layer.Dir},
		{Path: "usr/bin/a", Type: layer.Hardlink, Link: "usr/lib/z"},
		{Path: "usr/bin/b", Type: layer.File, Size: 1},
		{Path: "usr/bin/c", Type: layer.Hardlink, Link: "usr/lib/z"},
		{Path: "usr/lib", Type: layer.Dir},
		{Path: "usr/lib/z", Type: layer.File, Size: 9},
	}
	for pattern, want := range map[string][]string{
		"bin":         {"/bin/ a!usr/lib/z b c=a!usr/lib/z"},
		"/bin/c":      {"/bin/c @c"},
		"usr":         {"/usr/ bin bin/a!usr/lib/z bin/b bin/c=bin/a!usr/lib/z lib lib/z=bin/a"},
		"../usr/bin":  {"/usr/bin/ a!usr/lib/z b c=a!usr/lib/z"},
		"/../bin/../": nil,
	} {
		ms, err := Select(t.Context(), s, pattern, Options{Strict: true})
		if err != nil {
			t.Errorf("%s: %v", pattern, err)
		} else if diff := cmp.Diff(want, show(ms)); want != nil && diff != "" {
			t.Errorf("%s: %s", pattern, diff)
		}
	}
	var missing *NotFoundError
	if _, err := Select(t.Context(), s, "esc", Options{}); !errors.As(err, &missing) || missing.Path != "nope" {
		t.Error("a stage has no outside:", err)
	}
}

func TestSum(t *testing.T) {
	base := layer.Entry{Path: "d/f", Type: layer.File, Mode: 0o644, Size: 3, ModTime: 5,
		Xattrs: []layer.Xattr{{Name: "user.a", Value: "1"}}}
	sum := func(items ...Item) digest.Digest {
		t.Helper()
		d, err := Sum(t.Context(), stage{}, List(items...))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	item := func(change func(*Item)) Item {
		e := base
		it := Item{Entry: &e, Target: "f"}
		change(&it)
		return it
	}
	same := item(func(*Item) {})
	want := sum(same)
	if got := sum(item(func(it *Item) { it.Entry.ModTime = 77 })); got != want {
		t.Error("the time counts")
	}
	seen := map[digest.Digest]string{want: "same", sum(same, same): "twice", sum(): "none"}
	for name, change := range map[string]func(*Item){
		"target":      func(it *Item) { it.Target = "g" },
		"name":        func(it *Item) { it.Name = "f"; it.Target = "" },
		"link":        func(it *Item) { it.Link = "a" },
		"type":        func(it *Item) { it.Entry.Type = layer.Fifo },
		"mode":        func(it *Item) { it.Entry.Mode = 0o755 },
		"uid":         func(it *Item) { it.Entry.UID = 1 },
		"gid":         func(it *Item) { it.Entry.GID = 1 },
		"size":        func(it *Item) { it.Entry.Size = 4 },
		"content":     func(it *Item) { it.Entry.Path = "other" },
		"symlink":     func(it *Item) { it.Entry.Type = layer.Symlink; it.Entry.Link = "a" },
		"symlink to":  func(it *Item) { it.Entry.Type = layer.Symlink; it.Entry.Link = "b" },
		"device":      func(it *Item) { it.Entry.Type = layer.Char; it.Entry.Minor = 3 },
		"device of":   func(it *Item) { it.Entry.Type = layer.Char; it.Entry.Major = 3 },
		"no xattr":    func(it *Item) { it.Entry.Xattrs = nil },
		"xattr name":  func(it *Item) { it.Entry.Xattrs = []layer.Xattr{{Name: "user.b", Value: "1"}} },
		"xattr value": func(it *Item) { it.Entry.Xattrs = []layer.Xattr{{Name: "user.a", Value: "2"}} },
	} {
		d := sum(item(change))
		if other, ok := seen[d]; ok {
			t.Errorf("%s gives the digest of %s", name, other)
		}
		seen[d] = name
	}
}
