package view

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/human/style"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/look/anatomy"
	"github.com/strata-build/strata/internal/look/timeline"
)

// Blame tells who put a path into an image.
type Blame struct {
	Image string `json:"image"`
	Path  string `json:"path"` // with a slash in front; links in its directories are followed
	// File is the path as it is in the image, nil where it is not there any more.
	File *BlameFile `json:"file,omitempty"`
	// Events are what happened to the path, the oldest first.
	Events []BlameEvent `json:"events"`
	// Entries are what a directory holds, each with what last happened to it, or to something in it.
	Entries []BlameEntry `json:"entries,omitempty"`
}

// BlameFile is a path as it is.
type BlameFile struct {
	Mode string `json:"mode"` // as ls prints it
	UID  int    `json:"uid"`
	GID  int    `json:"gid"`
	Size int64  `json:"size"`
	Link string `json:"link,omitempty"`
}

// BlameEvent is what one step did to a path.
type BlameEvent struct {
	Change string `json:"change"` // added, changed, removed, or written: again, with the same contents
	Detail string `json:"detail,omitempty"`
	Culprit
}

// Culprit is the step that did something.
type Culprit struct {
	ID          digest.Digest `json:"id"`
	DiffID      digest.Digest `json:"diffId"`
	Layer       int           `json:"layer"` // counted from the lowest, which is 1
	Instruction string        `json:"instruction"`
	Created     *time.Time    `json:"created,omitempty"`
	// Image is the image of the chain that the step belongs to: a base's name, or the image's own.
	Image string `json:"image"`
}

// BlameEntry is an entry of a directory.
type BlameEntry struct {
	Name   string `json:"name"`
	Change string `json:"change"`
	BlameFile
	Culprit
}

// CulpritOf is the step whose layer this is, counted from the lowest, which is 0.
func CulpritOf(im *anatomy.Image, index int) Culprit {
	at := im.RowOf(index)
	if at < 0 {
		return Culprit{Layer: index + 1, Image: im.Text}
	}
	r := im.Rows[at]
	c := Culprit{
		ID: r.ID, DiffID: r.DiffID, Layer: index + 1, Created: r.History.Created, Image: im.Text,
		Instruction: Instruction(&r),
	}
	for _, row := range im.Rows[at : len(im.Rows)-1] {
		if len(row.Base) > 0 {
			c.Image = row.Base[0]
			break
		}
	}
	return c
}

// NewBlame makes the blame of a path as a person wrote it.
func NewBlame(ctx context.Context, im *anatomy.Image, name string) (*Blame, error) {
	t, err := im.Timeline(ctx)
	if err != nil {
		return nil, err
	}
	top := t.Layers() - 1
	n, err := t.Resolve(name, top)
	if err != nil {
		return nil, err
	}
	if n == timeline.None {
		return nil, fmt.Errorf("%s: no layer of %s ever had it: %w; strata show lists what a layer holds", human.Quoted(name), im.Text, fs.ErrNotExist)
	}
	return BlameOf(im, t, n, top), nil
}

// BlameOf makes the blame of a node, in the state up to a layer.
func BlameOf(im *anatomy.Image, t *timeline.Timeline, n timeline.Node, top int) *Blame {
	b := &Blame{Image: im.Text, Path: "/" + t.Path(n)}
	events := slices.Collect(t.Events(n))
	slices.Reverse(events)
	for i, e := range events {
		if e.Kind == timeline.Kept && e.Type == layer.Dir {
			continue // the parent of something
		}
		v := BlameEvent{Change: change(e.Kind), Culprit: CulpritOf(im, e.Layer)}
		if e.Kind != timeline.Removed && i > 0 {
			v.Detail = What(events[i-1], e)
		}
		b.Events = append(b.Events, v)
	}
	e, ok := t.At(n, top)
	if !ok || e.Kind == timeline.Removed {
		return b
	}
	b.File = blameFile(e)
	if e.Type == layer.Dir {
		b.Entries = blameEntries(im, t, n, top)
	}
	return b
}

// change is a kind in words.
func change(k timeline.Kind) string {
	switch k {
	case timeline.Added:
		return "added"
	case timeline.Removed:
		return "removed"
	case timeline.Kept:
		return "written"
	}
	return "changed"
}

func blameFile(e timeline.Event) *BlameFile {
	return &BlameFile{Mode: Mode(e.Type, e.Mode), UID: e.UID, GID: e.GID, Size: e.Size, Link: e.Link}
}

func blameEntries(im *anatomy.Image, t *timeline.Timeline, dir timeline.Node, top int) []BlameEntry {
	culprits := map[int]Culprit{} // thousands of entries come from few layers
	var entries []BlameEntry
	for n := range t.Children(dir) {
		e, ok := t.At(n, top)
		if !ok || e.Kind == timeline.Removed {
			continue
		}
		at, kind := lastChange(t, n, top)
		if at < 0 {
			at, kind = e.Layer, e.Kind
		}
		if _, known := culprits[at]; !known {
			culprits[at] = CulpritOf(im, at)
		}
		entries = append(entries, BlameEntry{Name: t.Name(n), Change: change(kind), BlameFile: *blameFile(e), Culprit: culprits[at]})
	}
	return entries
}

// lastChange is the highest layer in which something happened to a path, or to anything that is or was below it.
func lastChange(t *timeline.Timeline, n timeline.Node, top int) (at int, kind timeline.Kind) {
	at = -1
	t.Walk(n, func(below timeline.Node) bool {
		for e := range t.Events(below) {
			if e.Layer > top || e.Kind == timeline.Kept && e.Type == layer.Dir {
				continue
			}
			if e.Layer > at {
				if at, kind = e.Layer, e.Kind; below != n {
					kind = timeline.Changed
				}
			}
			break
		}
		return true
	})
	return at, kind
}

// Print prints the blame: of a path what happened to it, of a directory a line for each entry.
func (b *Blame) Print(p *Printer) error {
	head := p.paint(style.Bold, human.Quoted(b.Path))
	switch {
	case b.File == nil:
		head += "  " + p.paint(style.Red, "is not in the image any more")
	case b.File.Link != "":
		head += " -> " + human.Quoted(b.File.Link)
	default:
		head += "  " + b.File.Mode + " " + owner(b.File.UID, b.File.GID) + "  " + human.Size(b.File.Size)
	}
	p.line("%s", head)
	if len(b.Events) == 0 && len(b.Entries) == 0 {
		return errors.New("no layer has an entry for it: it exists only because of the files in it")
	}
	for _, e := range b.Events {
		text := e.Change
		if e.Detail != "" {
			text += ": " + e.Detail
		}
		p.line("")
		p.line("%s %s by step %s, layer %d, of %s, %s", p.mark(e.Change), text, p.paint(style.Yellow, shortID(e.ID)), e.Layer, human.Clean(e.Image), strings.ToLower(since(e.Created)))
		p.line("    %s", human.Clean(e.Instruction))
	}
	if len(b.Entries) > 0 {
		p.line("")
		b.printEntries(p)
	}
	return nil
}

func (b *Blame) printEntries(p *Printer) {
	names, sizes, ages := 0, 0, 0
	for _, e := range b.Entries {
		names, sizes, ages = max(names, len([]rune(human.Quoted(e.Name)))), max(sizes, len(human.Size(e.Size))), max(ages, len(since(e.Created)))
	}
	names = min(names, 40)
	for _, e := range b.Entries {
		name := human.Quoted(e.Name)
		pad := max(0, names-len([]rune(name)))
		used := 10 + 1 + sizes + 1 + len([]rune(name)) + pad + 2 + 2 + 12 + 2 + ages + 2
		p.line("%s %*s %s%*s  %s %s  %-*s  %s", e.Mode, sizes, human.Size(e.Size), name, pad, "", p.mark(e.Change),
			p.paint(style.Yellow, shortID(e.ID)), ages, since(e.Created), p.room(used, human.Clean(e.Instruction)))
	}
}
