// Package summary tells in short what differs between two layers that the same step made at different times: the
// packages whose versions changed, and the files.
package summary

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/packages"
)

// Changes is what differs between two layers.
type Changes struct {
	Packages []packages.Change // by manager and name
	// Added, Removed and Changed are paths with a slash in front, in canonical order. A directory counts where
	// its own owner or mode changed, not for what is in it.
	Added, Removed, Changed []string
}

// Between compares two layers. Times do not count, nor how hard links are arranged.
func Between(ctx context.Context, before, after layer.Source) (*Changes, error) {
	old, err := before.TOC(ctx)
	if err != nil {
		return nil, err
	}
	made, err := after.TOC(ctx)
	if err != nil {
		return nil, err
	}
	c := &Changes{}
	c.compare(old, made)
	a, err := packages.List(inLayer{ctx, before, old})
	if err != nil {
		return nil, err
	}
	b, err := packages.List(inLayer{ctx, after, made})
	if err != nil {
		return nil, err
	}
	c.Packages = packages.Compare(a, b)
	return c, nil
}

// inLayer are the files of a layer, among which packages are looked for.
type inLayer struct {
	ctx    context.Context
	source layer.Source
	toc    *layer.TOC
}

// Each implements packages.Files.
func (l inLayer) Each(visit func(path string, dir bool)) error {
	for _, e := range l.toc.Entries {
		if e.Type == layer.Dir || resolve(l.toc, e).Type == layer.File {
			visit(e.Path, e.Type == layer.Dir)
		}
	}
	return nil
}

// Open implements packages.Files.
func (l inLayer) Open(path string) (io.ReadCloser, error) {
	return l.source.Open(l.ctx, resolve(l.toc, l.toc.Lookup(path)))
}

// compare fills in the paths.
func (c *Changes) compare(old, made *layer.TOC) {
	for a, b := range layer.MergeTOCs(old, made) {
		switch {
		case b == nil:
			c.Removed = append(c.Removed, "/"+a.Path)
		case a == nil:
			c.Added = append(c.Added, "/"+b.Path)
		case layer.Differences(resolve(old, a), resolve(made, b))&^layer.AttrTime != 0:
			c.Changed = append(c.Changed, "/"+a.Path)
		}
	}
}

// resolve gives the file that a hard link is another name of.
func resolve(t *layer.TOC, e *layer.Entry) *layer.Entry {
	if e.Type == layer.Hardlink {
		if target := t.Lookup(e.Link); target != nil {
			return target
		}
	}
	return e
}

// What String shows of each kind.
const (
	shownPackages = 5
	shownFiles    = 3
)

// String is one line: "pip 24.1 → 24.2; 3 files changed: /a, /b, /c". It is "" for two layers that hold the same.
func (c *Changes) String() string {
	var parts []string
	if len(c.Packages) > 0 {
		var names []string
		for _, p := range c.Packages[:min(len(c.Packages), shownPackages)] {
			names = append(names, p.String())
		}
		if more := len(c.Packages) - shownPackages; more > 0 {
			names = append(names, fmt.Sprintf("%d more packages", more))
		}
		parts = append(parts, strings.Join(names, ", "))
	}
	for _, k := range []struct {
		what  string
		paths []string
	}{{"changed", c.Changed}, {"added", c.Added}, {"removed", c.Removed}} {
		if len(k.paths) == 0 {
			continue
		}
		noun := "files"
		if len(k.paths) == 1 {
			noun = "file"
		}
		text := fmt.Sprintf("%d %s %s", len(k.paths), noun, k.what)
		// With packages named, the paths are theirs mostly, and say nothing more.
		if len(c.Packages) == 0 {
			text += ": " + strings.Join(k.paths[:min(len(k.paths), shownFiles)], ", ")
			if len(k.paths) > shownFiles {
				text += ", …"
			}
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}
