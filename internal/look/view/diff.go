package view

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/human/style"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/packages"
	"github.com/strata-build/strata/internal/look/anatomy"
	"github.com/strata-build/strata/internal/look/timeline"
)

// Diff is how two states differ.
type Diff struct {
	Before   string            `json:"before"` // as the person named them
	After    string            `json:"after"`
	Files    []DiffEntry       `json:"files,omitempty"`
	Packages []packages.Change `json:"packages,omitempty"`
	// Unread says which files that tell of packages make no sense; what their managers have installed is not compared.
	Unread []string       `json:"unread,omitempty"`
	Config []ConfigChange `json:"config,omitempty"`

	sides [2]side
}

// DiffEntry is a path that is not the same on both sides.
type DiffEntry struct {
	Change string     `json:"change"` // added, changed or removed
	Path   string     `json:"path"`   // with a slash in front
	Detail string     `json:"detail,omitempty"`
	Before *BlameFile `json:"before,omitempty"`
	After  *BlameFile `json:"after,omitempty"`

	content       bool
	nodes         [2]timeline.Node
	before, after timeline.Event
}

// side is one of the two states.
type side struct {
	im  *anatomy.Image
	t   *timeline.Timeline
	top int
}

func newSide(ctx context.Context, im *anatomy.Image) (side, error) {
	t, err := im.Timeline(ctx)
	return side{im, t, im.Layers() - 1}, err
}

// at is a path's event in the state; false where it is not there.
func (s side) at(n timeline.Node) (timeline.Event, bool) {
	if n == timeline.None {
		return timeline.Event{}, false
	}
	e, ok := s.t.At(n, s.top)
	return e, ok && e.Kind != timeline.Removed
}

// NewDiff compares two states. With paths, which a person wrote, only what is at and below these; then configurations are
// left out. Packages are for those who read them (look/packages) to fill in.
func NewDiff(ctx context.Context, before, after *anatomy.Image, paths []string) (*Diff, error) {
	d := &Diff{Before: before.Text, After: after.Text}
	for i, im := range []*anatomy.Image{before, after} {
		s, err := newSide(ctx, im)
		if err != nil {
			return nil, err
		}
		d.sides[i] = s
	}
	if len(paths) == 0 {
		d.compare(timeline.Root, timeline.Root, "")
		d.Config = CompareConfigs(before.Config, after.Config)
		return d, nil
	}
	for _, p := range paths {
		var nodes [2]timeline.Node
		found := ""
		for i, s := range d.sides {
			n, err := s.t.Resolve(p, s.top)
			if err != nil {
				return nil, err
			}
			if nodes[i] = n; n != timeline.None {
				found = s.t.Path(n)
			}
		}
		if nodes[0] == timeline.None && nodes[1] == timeline.None {
			return nil, fmt.Errorf("%s is neither in %s nor in %s", human.Quoted(p), d.Before, d.After)
		}
		d.compare(nodes[0], nodes[1], found)
	}
	return d, nil
}

// compare compares a path and what is below it; either side may be None.
func (d *Diff) compare(a, b timeline.Node, name string) {
	before, hadIt := d.sides[0].at(a)
	after, hasIt := d.sides[1].at(b)
	e := DiffEntry{Path: "/" + name, nodes: [2]timeline.Node{a, b}, before: before, after: after}
	if hadIt {
		e.Before = blameFile(before)
	}
	if hasIt {
		e.After = blameFile(after)
	}
	switch {
	case !hadIt && !hasIt:
		return
	case !hadIt:
		e.Change = "added"
	case !hasIt:
		e.Change = "removed"
	default:
		w := timeline.Differs(before, after) &^ layer.AttrTime
		if w != 0 {
			after.What = w
			e.Change, e.Detail, e.content = "changed", What(before, after), w&layer.AttrContent != 0
		}
	}
	if e.Change != "" {
		d.Files = append(d.Files, e)
	}
	if !hadIt {
		a = timeline.None
	}
	if !hasIt {
		b = timeline.None
	}
	d.compareChildren(a, b, name)
}

// compareChildren goes through the children of both sides, which are in the order of their names.
func (d *Diff) compareChildren(a, b timeline.Node, name string) {
	left, right := d.sides[0].t, d.sides[1].t
	order := func(x, y timeline.Node) int { return strings.Compare(left.Name(x), right.Name(y)) }
	for x, y := range layer.MergeSorted(children(left, a), children(right, b), timeline.None, order) {
		child := ""
		if x != timeline.None {
			child = left.Name(x)
		} else {
			child = right.Name(y)
		}
		d.compare(x, y, path.Join(name, child))
	}
}

func children(t *timeline.Timeline, n timeline.Node) []timeline.Node {
	if n == timeline.None {
		return nil
	}
	return slices.Collect(t.Children(n))
}

// Counts is how many files, directories not among them, were added, changed and removed.
func (d *Diff) Counts() (added, changed, removed int) {
	for i := range d.Files {
		e := &d.Files[i]
		switch {
		case e.file().dir():
		case e.Change == "added":
			added++
		case e.Change == "changed":
			changed++
		default:
			removed++
		}
	}
	return added, changed, removed
}

// Text says that the two sides have other contents of a regular file, in which Patch may find lines that differ.
func (e *DiffEntry) Text() bool {
	return e.content && e.Before.Size <= maxPatch && e.After.Size <= maxPatch && !e.After.dir()
}

// file is the path as it is on the side that has it, the later one if both have.
func (e *DiffEntry) file() *BlameFile {
	if e.After != nil {
		return e.After
	}
	return e.Before
}

func (f *BlameFile) dir() bool { return strings.HasPrefix(f.Mode, "d") }

// Print prints what differs: packages, configuration, and a line for each path.
func (d *Diff) Print(p *Printer) {
	added, changed, removed := d.Counts()
	p.line("%s → %s  %s", p.paint(style.Bold, human.Clean(d.Before)), p.paint(style.Bold, human.Clean(d.After)), p.counts(added, changed, removed, 0))
	if len(d.Packages) > 0 {
		p.line("")
		manager := ""
		for _, c := range d.Packages {
			if c.Manager != manager {
				manager = c.Manager
				p.line("%s packages", manager)
			}
			color := style.Yellow
			if c.Before == "" {
				color = style.Green
			} else if c.After == "" {
				color = style.Red
			}
			p.line("  %s", p.paint(color, human.Clean(c.String())))
		}
	}
	if len(d.Unread) > 0 {
		p.line("")
		for _, u := range d.Unread {
			p.line("%s", p.paint(style.Yellow, human.Clean(u)))
		}
	}
	if len(d.Config) > 0 {
		p.line("")
		p.line("configuration")
		p.printConfig(d.Config)
	}
	if len(d.Files) == 0 {
		return
	}
	p.line("")
	owners, sizes := 0, 0
	for i := range d.Files {
		f := d.Files[i].file()
		owners, sizes = max(owners, len(owner(f.UID, f.GID))), max(sizes, len(human.Size(f.Size)))
	}
	for i := range d.Files {
		d.Files[i].print(p, owners, sizes)
	}
}

func (e *DiffEntry) print(p *Printer, owners, sizes int) {
	f := e.file()
	size, detail := "", e.Detail
	if !f.dir() {
		size = human.Size(f.Size)
	}
	if e.content {
		detail = strings.Replace(detail, "content", "content, was "+human.Size(e.Before.Size), 1)
	}
	name := human.Quoted(e.Path)
	if f.dir() && e.Path != "/" {
		name += "/"
	}
	if f.Link != "" {
		name += " -> " + human.Quoted(f.Link)
	}
	if detail != "" {
		name += "  (" + detail + ")"
	}
	p.line("%s %s %-*s %*s  %s", p.mark(e.Change), f.Mode, owners, owner(f.UID, f.GID), sizes, size, p.tint(e.Change, name))
}

// maxPatch is how large a file may be whose lines are compared, in bytes.
const maxPatch = 1 << 20

// Patch prints unified diffs of the text files that differ, and a line for each other file.
func (d *Diff) Patch(ctx context.Context, p *Printer) error {
	for i := range d.Files {
		e := &d.Files[i]
		if e.file().dir() {
			continue
		}
		var data [2][]byte
		readable := true
		for i, f := range []*BlameFile{e.Before, e.After} {
			if f == nil || f.Mode[0] != '-' {
				continue
			}
			if f.Size > maxPatch {
				readable = false
				break
			}
			var err error
			if data[i], err = d.read(ctx, i, e); err != nil {
				return err
			}
			readable = readable && bytes.IndexByte(data[i], 0) < 0
		}
		e.printPatch(p, data, readable)
	}
	return nil
}

func (d *Diff) read(ctx context.Context, i int, e *DiffEntry) ([]byte, error) {
	event := e.before
	if i == 1 {
		event = e.after
	}
	r, err := d.sides[i].im.Open(ctx, event.Layer, d.sides[i].t.Path(e.nodes[i]))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func (e *DiffEntry) printPatch(p *Printer, data [2][]byte, readable bool) {
	names := [2]string{"/dev/null", "/dev/null"}
	if e.Before != nil {
		names[0] = "a" + human.Quoted(e.Path)
	}
	if e.After != nil {
		names[1] = "b" + human.Quoted(e.Path)
	}
	p.line("%s", p.paint(style.Bold, fmt.Sprintf("diff a%s b%[1]s", human.Quoted(e.Path))))
	switch {
	case e.Change == "added":
		p.line("new %s, mode %s", typeName(e.after.Type), e.After.Mode)
	case e.Change == "removed":
		p.line("removed %s, mode %s", typeName(e.before.Type), e.Before.Mode)
	default:
		p.line("%s", e.Detail)
	}
	if bytes.Equal(data[0], data[1]) {
		return
	}
	if !readable {
		p.line("Binary files %s and %s differ", names[0], names[1])
		return
	}
	text := diff.Diff(names[0], data[0], names[1], data[1])
	_, text, _ = bytes.Cut(text, []byte("\n")) // its own first line is the one that stands above
	for line := range strings.Lines(string(text)) {
		p.patchLine(human.Clean(strings.TrimSuffix(line, "\n")), strings.Contains(line, "\t"), line)
	}
}

// patchLine paints a line of a unified diff. Tabs stay; other control characters do not.
func (p *Printer) patchLine(clean string, tabs bool, raw string) {
	if tabs {
		parts := strings.Split(strings.TrimSuffix(raw, "\n"), "\t")
		for i := range parts {
			parts[i] = human.Clean(parts[i])
		}
		clean = strings.Join(parts, "\t")
	}
	color := style.None
	switch {
	case strings.HasPrefix(clean, "---"), strings.HasPrefix(clean, "+++"):
		color = style.Bold
	case strings.HasPrefix(clean, "@@"):
		color = style.Cyan
	case strings.HasPrefix(clean, "-"):
		color = style.Red
	case strings.HasPrefix(clean, "+"):
		color = style.Green
	}
	if color != style.None {
		clean = p.paint(color, clean)
	}
	p.line("%s", clean)
}
