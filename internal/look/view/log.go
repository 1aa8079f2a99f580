package view

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/human/style"
	"github.com/strata-build/strata/internal/look/anatomy"
	"github.com/strata-build/strata/internal/look/history"
	"github.com/strata-build/strata/internal/look/timeline"
)

// Log is an image as a history, newest first.
type Log struct {
	Image  string        `json:"image"` // as the person named it
	ID     digest.Digest `json:"id"`
	Layers int           `json:"layers"`
	Rows   []LogRow      `json:"rows"`
}

// LogRow is one row of the history: a layer, or a change of the configuration.
type LogRow struct {
	ID          digest.Digest `json:"id"`
	Instruction string        `json:"instruction"`
	CreatedBy   string        `json:"createdBy"` // as the config has it
	Created     *time.Time    `json:"created,omitempty"`
	Comment     string        `json:"comment,omitempty"`
	// Names are those of the image that ends with this row: the image's own in the first row, those of bases below it.
	Names []string `json:"names,omitempty"`
	// Base says that the row is of the image that this one is based on.
	Base  bool      `json:"base"`
	Layer *LogLayer `json:"layer,omitempty"`
}

// LogLayer is what a row did to the files.
type LogLayer struct {
	DiffID digest.Digest `json:"diffId"`
	// Size is the sum of the sizes of its files in bytes, Blob what is moved of it, compressed as a rule; -1 where one is
	// not known.
	Size int64 `json:"size"`
	Blob int64 `json:"blob"`
	// Changes is nil where the table of contents of this layer, or of one below it, is not here.
	Changes *LogChanges `json:"changes,omitempty"`
}

// LogChanges counts files and links; Dirs the directories that were added, changed or removed.
type LogChanges struct {
	Added   int `json:"added"`
	Changed int `json:"changed"`
	Removed int `json:"removed"`
	Dirs    int `json:"directories"`
}

// NewLog makes the log of an image. Of an archive it reads the layers; of an image in a registry it fetches none, and
// tells of these only their sizes.
func NewLog(ctx context.Context, im *anatomy.Image) (*Log, error) {
	if err := im.LookHere(ctx); err != nil {
		return nil, err
	}
	t, err := im.KnownTimeline(ctx)
	if err != nil {
		return nil, err
	}
	l := &Log{Image: im.Text, ID: im.ID, Layers: im.Layers()}
	base := im.BaseRow()
	for i := len(im.Rows) - 1; i >= 0; i-- {
		r := im.Rows[i]
		row := LogRow{
			ID: r.ID, Instruction: Instruction(&r), CreatedBy: r.History.CreatedBy,
			Created: r.History.Created, Comment: r.History.Comment, Names: r.Base, Base: i <= base,
		}
		if r.Layer >= 0 {
			row.Layer = newLogLayer(im, r, t)
		}
		l.Rows = append(l.Rows, row)
	}
	return l, nil
}

// Instruction is what made a row: its instruction, or its comment in brackets, as of an image that was imported.
func Instruction(r *anatomy.Row) string {
	if text := history.Instruction(r.History.CreatedBy); text != "" {
		return text
	}
	if r.History.Comment != "" {
		return "(" + r.History.Comment + ")"
	}
	return "(no instruction is known)"
}

func newLogLayer(im *anatomy.Image, r anatomy.Row, t *timeline.Timeline) *LogLayer {
	_, blob := im.Blob(r.Layer)
	l := &LogLayer{DiffID: r.DiffID, Size: r.Size, Blob: blob}
	if r.Layer < t.Layers() {
		s := t.Stats(r.Layer)
		l.Size, l.Changes = s.Stored, &LogChanges{s.Added, s.Changed, s.Removed, s.Dirs}
	}
	return l
}

// size is what is known of a layer's size: "2.06MB", or "29.1MB compressed" of a layer that is elsewhere.
func (l *LogLayer) size() string {
	if l.Size < 0 && l.Blob >= 0 {
		return human.Size(l.Blob) + " compressed"
	}
	return human.Size(l.Size)
}

// decorations are a row's names, those of a base marked as such.
func (r *LogRow) decorations() []string {
	if !r.Base {
		return r.Names
	}
	var names []string
	for _, n := range r.Names {
		names = append(names, "base: "+n)
	}
	return names
}

// Print prints the log as git does: a paragraph for each row.
func (l *Log) Print(p *Printer) {
	for i := range l.Rows {
		r := &l.Rows[i]
		if i > 0 {
			p.line("")
		}
		head := p.paint(style.Yellow, "step "+shortID(r.ID))
		if names := p.decoration(r.decorations()); names != "" {
			head += " " + names
		}
		p.line("%s", head)
		if r.Layer != nil {
			changes := "not here: strata show " + shortID(r.ID) + " fetches it"
			if c := r.Layer.Changes; c != nil {
				changes = p.counts(c.Added, c.Changed, c.Removed, 0) + directories(c.Dirs)
			}
			p.line("Layer:   %s  %s  %s", shortID(r.Layer.DiffID), r.Layer.size(), changes)
		}
		p.line("Created: %s", since(r.Created))
		p.line("")
		p.line("    %s", human.Clean(r.Instruction))
	}
}

func directories(n int) string {
	switch n {
	case 0:
		return ""
	case 1:
		return ", 1 directory"
	}
	return fmt.Sprintf(", %d directories", n)
}

// columns are the widths of what Oneline aligns.
type columns struct{ size, counts int }

func (l *Log) columns() columns {
	var c columns
	for _, r := range l.Rows {
		if r.Layer == nil {
			continue
		}
		c.size = max(c.size, len(r.Layer.size()))
		if k := r.Layer.Changes; k != nil {
			c.counts = max(c.counts, len(fmt.Sprintf("+%d ~%d -%d", k.Added, k.Changed, k.Removed)))
		}
	}
	return c
}

// Oneline prints a line for each row.
func (l *Log) Oneline(p *Printer) {
	c := l.columns()
	for i := range l.Rows {
		l.oneline(p, &l.Rows[i], "", "", c)
	}
}

// oneline prints a row behind the lines of a graph, which is as wide as plain is.
func (l *Log) oneline(p *Printer, r *LogRow, graph, plain string, c columns) {
	size, counts := "", strings.Repeat(" ", c.counts)
	if r.Layer != nil {
		size = r.Layer.size()
		if k := r.Layer.Changes; k != nil {
			counts = p.counts(k.Added, k.Changed, k.Removed, c.counts)
		}
	}
	names := p.decoration(r.decorations())
	if names != "" {
		names += " "
	}
	used := len(plain) + 12 + 2 + c.size + 2 + c.counts + 2 + len(strings.Join(r.decorations(), ", ")) + 3
	p.line("%s%s  %*s  %s  %s%s", graph, p.paint(style.Yellow, shortID(r.ID)), c.size, size, counts, names, p.room(used, human.Clean(r.Instruction)))
}
