package layer

import (
	"bytes"
	"errors"
	"io/fs"
	"testing"

	"github.com/opencontainers/go-digest"
)

// What an excerpt says is what the tree says, and what it does not say is asked of the tree.
func TestPartial(t *testing.T) {
	toc, err := NewTOC([]*Entry{
		{Path: "app", Type: Dir, Mode: 0o750, UID: 7}, {Path: "app/file", Type: File, Mode: 0o644, Size: 1, Digest: digest.FromString("1")},
		{Path: "app/sub", Type: Dir, Mode: 0o755}, {Path: "etc", Type: Dir, Mode: 0o755}, {Path: "link", Type: Symlink, Mode: 0o777, Link: "app"},
	})
	if err != nil {
		t.Fatal(err)
	}
	whole := NewPartial(NewStack(TreeSource("", toc)), nil)
	for _, path := range []string{"app", "app/new", "nothing/at/all", "link"} {
		_, _ = whole.Lookup(t.Context(), path)
	}
	excerpt, err := whole.Excerpt(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := excerpt.Encode(&b); err != nil {
		t.Fatal(err)
	}
	known := &TOC{}
	if err := known.Decode(&b); err != nil {
		t.Fatal(err)
	}
	unavailable := errors.New("the layer would be fetched")
	part := NewPartial(NewStack(absent{err: unavailable}), []*TOC{known})
	for _, test := range []struct {
		path string
		want error // nil for one that is there
	}{
		{"", nil}, {"app", nil}, {"app/file", nil}, {"app/sub", nil}, {"link", nil}, {"etc", nil},
		{"app/new", fs.ErrNotExist}, {"app/other/new", fs.ErrNotExist}, {"app/file/new", fs.ErrNotExist}, {"nothing", fs.ErrNotExist},
		{"app/sub/new", unavailable}, {"etc/passwd", unavailable},
	} {
		e, err := part.Lookup(t.Context(), test.path)
		if !errors.Is(err, test.want) {
			t.Errorf("%q: %v, want %v", test.path, err, test.want)
			continue
		}
		if err != nil {
			continue
		}
		want, err := whole.Lookup(t.Context(), test.path)
		if err != nil || Differences(e, want) != 0 {
			t.Errorf("%q: %+v, want %+v, %v", test.path, e, want, err)
		}
	}
	// Who looks up about the same gives as much away.
	again, err := part.Excerpt(t.Context())
	if err == nil {
		t.Errorf("an excerpt of what could not be looked up: %v", again.Entries)
	}
}
