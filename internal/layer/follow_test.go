package layer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"
)

// linked is a merged view of directories, files and, with "name -> target", symbolic links.
func linked(t *testing.T, entries ...*Entry) *Stack {
	t.Helper()
	toc, err := NewTOC(entries)
	if err != nil {
		t.Fatal(err)
	}
	return NewStack(treeSource{toc: toc})
}

func TestResolve(t *testing.T) {
	dir := func(path string) *Entry { return &Entry{Path: path, Type: Dir, Mode: 0o755} }
	link := func(path, target string) *Entry { return &Entry{Path: path, Type: Symlink, Mode: 0o777, Link: target} }
	stack := linked(t,
		dir(""), dir("usr"), dir("usr/bin"), &Entry{Path: "usr/bin/sh", Type: File}, link("bin", "usr/bin"), link("abs", "/bin/sh"),
		link("up", "../../usr/bin/../bin"), link("usr/out", "/../bin"), link("dangling", "missing/x"), link("round", "circle"), link("circle", "/round"),
	)
	for _, test := range []struct{ path, want string }{
		{"", ""}, {"/", ""}, {"usr/bin", "usr/bin"}, {"bin/sh", "usr/bin/sh"}, {"/./bin//sh/", "usr/bin/sh"}, {"abs", "usr/bin/sh"},
		{"up/sh", "usr/bin/sh"}, {"usr/out/sh", "usr/bin/sh"}, {"bin/..", "usr"}, {"../../bin", "usr/bin"},
	} {
		at, e, err := Resolve(t.Context(), stack, test.path)
		if err != nil || at != test.want || e.Path != test.want {
			t.Errorf("%q: %q, %v, want %q", test.path, at, err, test.want)
		}
	}
	for _, path := range []string{"x", "dangling", "usr/bin/sh/x", "usr/bin/sh/.."} {
		if _, _, err := Resolve(t.Context(), stack, path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", path, err)
		}
	}
	var links *LinksError
	if _, _, err := Resolve(t.Context(), stack, "/round/x"); !errors.As(err, &links) || err.Error() != "/round/x: too many levels of symbolic links" {
		t.Errorf("a circle: %v", err)
	}
}

// As many links as MaxLinks are followed, whatever the kernel's own bound is.
func TestMaxLinks(t *testing.T) {
	entries := []*Entry{{Type: Dir, Mode: 0o755}, {Path: "l0", Type: File}}
	for i := range MaxLinks + 1 {
		entries = append(entries, &Entry{Path: fmt.Sprintf("l%d", i+1), Type: Symlink, Link: fmt.Sprintf("l%d", i)})
	}
	stack := linked(t, entries...)
	if at, _, err := Resolve(t.Context(), stack, fmt.Sprintf("l%d", MaxLinks)); at != "l0" {
		t.Errorf("%q, %v", at, err)
	}
	if at, _, err := Resolve(t.Context(), stack, fmt.Sprintf("l%d", MaxLinks+1)); err == nil {
		t.Errorf("%q", at)
	}
}

// A merged view that could not be read, since who asked first gave up, is read when it is asked for again.
func TestStackTriesAgain(t *testing.T) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	stack := NewStack(patient{treeSource{toc: &TOC{Entries: []*Entry{{Path: "a", Type: File}}}}})
	if _, err := stack.Lookup(canceled, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if _, err := stack.Lookup(t.Context(), "a"); err != nil {
		t.Error(err)
	}
}

// A layer that is nowhere to be had is not a path that is not there.
func TestStackUnread(t *testing.T) {
	reason := &fs.PathError{Op: "open", Path: "blob", Err: fs.ErrNotExist}
	_, err := NewStack(absent{err: reason}).Lookup(t.Context(), "a")
	var cause *fs.PathError
	if errors.Is(err, fs.ErrNotExist) || !errors.As(err, &cause) || !errors.Is(err, reason) {
		t.Error(err)
	}
}

// absent is a layer whose table of contents cannot be read.
type absent struct {
	treeSource
	err error
}

func (a absent) TOC(context.Context) (*TOC, error) { return nil, a.err }

// patient is a layer whose table of contents takes a while.
type patient struct{ treeSource }

func (p patient) TOC(ctx context.Context) (*TOC, error) { return p.toc, ctx.Err() }
