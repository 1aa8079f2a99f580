package view

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/look/anatomy"
	"github.com/strata-build/strata/internal/look/timeline"
)

// Contents is a file or directory of an image, as it is in the image's state.
type Contents struct {
	Path string // with a slash in front
	// Size is the file's, in bytes.
	Size int64
	// Open reads a file; nil of a directory.
	Open func() (io.ReadCloser, error)
	// List is a directory's.
	List []ShowEntry
}

// NewContents finds what is at a path that a person wrote; symbolic links are followed. Of an image in a registry it
// fetches layers from the top until one has the file.
func NewContents(ctx context.Context, im *anatomy.Image, name string) (*Contents, error) {
	literal := strings.Trim(path.Clean("/"+name), "/")
	for i := im.Layers() - 1; i >= 0; i-- {
		e, hidden, err := entryIn(ctx, im, i, literal)
		if err != nil {
			return nil, err
		}
		if e != nil && e.Type == layer.File {
			return fileOf(ctx, im, i, literal, e.Size), nil
		}
		if e != nil || hidden {
			break // the timeline knows about all else
		}
	}
	t, err := im.Timeline(ctx)
	if err != nil {
		return nil, err
	}
	return contentsAt(ctx, im, t, literal)
}

// entryIn looks a path up in one layer, and says whether this layer hides it in those below.
func entryIn(ctx context.Context, im *anatomy.Image, index int, name string) (found *layer.Entry, hidden bool, err error) {
	err = im.Each(ctx, index, func(e *layer.Entry) error {
		if e.Path == name {
			kept := *e
			found = &kept
			return fs.SkipAll
		}
		hidden = hidden || strings.HasPrefix(name, e.Path+"/") && (e.Type != layer.Dir || e.Opaque)
		return nil
	})
	if errors.Is(err, fs.SkipAll) {
		err = nil
	}
	return found, hidden, err
}

func fileOf(ctx context.Context, im *anatomy.Image, index int, name string, size int64) *Contents {
	return &Contents{Path: "/" + name, Size: size, Open: func() (io.ReadCloser, error) { return im.Open(ctx, index, name) }}
}

func contentsAt(ctx context.Context, im *anatomy.Image, t *timeline.Timeline, name string) (*Contents, error) {
	top := t.Layers() - 1
	n, err := t.Follow(name, top)
	if missing := (*fs.PathError)(nil); errors.As(err, &missing) {
		return nil, fmt.Errorf("/%s: %w in %s; strata blame tells whether a layer ever had it", human.Quoted(missing.Path), missing.Err, im.Text)
	}
	if err != nil {
		return nil, err
	}
	at := t.Path(n)
	switch e, _ := t.At(n, top); e.Type {
	case layer.File:
		return fileOf(ctx, im, e.Layer, at, e.Size), nil
	case layer.Dir:
	default:
		return nil, fmt.Errorf("/%s is a %s, which has no contents", human.Quoted(at), typeName(e.Type))
	}
	c := &Contents{Path: "/" + at}
	for child := range t.Children(n) {
		if e, ok := t.At(child, top); ok && e.Kind != timeline.Removed {
			c.List = append(c.List, showEntry(t, child, t.Name(child), e, -1))
		}
	}
	return c, nil
}

// PrintList prints a directory as ls -l does.
func (c *Contents) PrintList(p *Printer) {
	owners, sizes := 0, 0
	for _, e := range c.List {
		owners, sizes = max(owners, len(owner(e.UID, e.GID))), max(sizes, len(human.Size(e.Size)))
	}
	for _, e := range c.List {
		link := ""
		if e.Link != "" {
			link = " -> " + human.Quoted(e.Link)
		}
		p.line("%s %-*s %*s  %s%s", e.Mode, owners, owner(e.UID, e.GID), sizes, human.Size(e.Size), human.Quoted(e.Path), link)
	}
}
