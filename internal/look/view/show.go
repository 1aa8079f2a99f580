package view

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/human/style"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/look/anatomy"
	"github.com/strata-build/strata/internal/look/timeline"
)

// Show is one step: its instruction, and what it changed.
type Show struct {
	LogRow
	Config []ConfigChange `json:"config,omitempty"`
	// Partial says that the layers below are not here: then what was added and what changed is not told apart, and all that the
	// layer holds is "present".
	Partial bool        `json:"partial,omitempty"`
	Entries []ShowEntry `json:"entries,omitempty"`
}

// ShowEntry is a path of a layer.
type ShowEntry struct {
	// Change is added, changed, removed, written (again, with the same contents), present, or "" for a directory that is
	// there for what is in it.
	Change string `json:"change"`
	Path   string `json:"path"` // with a slash in front
	Mode   string `json:"mode"` // as ls prints it
	UID    int    `json:"uid"`
	GID    int    `json:"gid"`
	Size   int64  `json:"size"`
	Before *int64 `json:"before,omitempty"` // size, of a file that changed
	Link   string `json:"link,omitempty"`
	Detail string `json:"detail,omitempty"` // what changed
}

// NewShow tells of the step whose state the image is. Of an image in a registry it fetches the step's own layer only.
func NewShow(ctx context.Context, im *anatomy.Image) (*Show, error) {
	last := len(im.Rows) - 1
	if last < 0 {
		return nil, fmt.Errorf("%s has neither layers nor a history", im.Text)
	}
	r := im.Rows[last]
	s := &Show{LogRow: LogRow{
		ID: r.ID, Instruction: Instruction(&r), CreatedBy: r.History.CreatedBy, Created: r.History.Created, Comment: r.History.Comment, Names: r.Base,
	}}
	var before *image.Config
	if last > 0 {
		var err error
		if before, err = image.Parse(im.Rows[last-1].Config); err != nil {
			return nil, err
		}
	}
	s.Config = CompareConfigs(before, im.Config)
	if r.Layer < 0 {
		return s, nil
	}
	if err := im.Look(ctx, r.Layer); err != nil {
		return nil, err
	}
	if err := im.LookHere(ctx); err != nil {
		return nil, err
	}
	for i := range r.Layer {
		s.Partial = s.Partial || !im.Known(i)
	}
	t := timeline.New()
	if s.Partial {
		err := s.addPartial(ctx, im, r.Layer)
		s.Layer = newLogLayer(im, r, t)
		return s, err
	}
	t, err := im.Timeline(ctx)
	if err != nil {
		return nil, err
	}
	s.Layer = newLogLayer(im, r, t)
	s.addChanges(t, timeline.Root, r.Layer)
	return s, nil
}

// addPartial lists what a layer holds without knowing what is below.
func (s *Show) addPartial(ctx context.Context, im *anatomy.Image, index int) error {
	return im.Each(ctx, index, func(e *layer.Entry) error {
		v := ShowEntry{Change: "present", Path: "/" + e.Path, Mode: Mode(e.Type, e.Mode), UID: e.UID, GID: e.GID, Size: e.Size, Link: e.Link}
		switch e.Type {
		case layer.Whiteout:
			v = ShowEntry{Change: "removed", Path: "/" + e.Path, Mode: "?"}
		case layer.Hardlink:
			v.Link = "/" + e.Link
		}
		s.Entries = append(s.Entries, v)
		return nil
	})
}

// addChanges lists what a layer did to a node and to what is below it, and says whether that is anything.
func (s *Show) addChanges(t *timeline.Timeline, n timeline.Node, index int) bool {
	at := len(s.Entries)
	e, ok := t.At(n, index)
	any := ok && e.Layer == index && (e.Kind != timeline.Kept || e.Type != layer.Dir)
	if any || e.Type == layer.Dir {
		s.Entries = append(s.Entries, ShowEntry{})
	}
	for c := range t.Children(n) {
		if s.addChanges(t, c, index) {
			any = true
		}
	}
	switch {
	case !any:
		s.Entries = s.Entries[:at]
	case ok:
		s.Entries[at] = showEntry(t, n, "/"+t.Path(n), e, index)
	}
	return any
}

func showEntry(t *timeline.Timeline, n timeline.Node, name string, e timeline.Event, index int) ShowEntry {
	v := ShowEntry{Path: name, Mode: Mode(e.Type, e.Mode), UID: e.UID, GID: e.GID, Size: e.Size, Link: e.Link}
	if e.Layer != index || e.Kind == timeline.Kept && e.Type == layer.Dir {
		return v
	}
	v.Change = change(e.Kind)
	if e.Kind == timeline.Changed || e.Kind == timeline.Kept {
		if before, ok := t.At(n, index-1); ok {
			v.Detail = What(before, e)
			if before.Type == layer.File && e.What&layer.AttrContent != 0 {
				v.Before = &before.Size
			}
		}
	}
	return v
}

func (s *Show) head(p *Printer) {
	head := p.paint(style.Yellow, "step "+shortID(s.ID))
	if names := p.decoration(s.Names); names != "" {
		head += " " + names
	}
	p.line("%s", head)
	if s.Layer != nil {
		changes := ""
		if c := s.Layer.Changes; c != nil {
			changes = "  " + p.counts(c.Added, c.Changed, c.Removed, 0) + directories(c.Dirs)
		}
		p.line("Layer:   %s  %s%s", shortID(s.Layer.DiffID), s.Layer.size(), changes)
	}
	p.line("Created: %s", since(s.Created))
	p.line("")
	p.line("    %s", human.Clean(s.Instruction))
	if len(s.Config) > 0 {
		p.line("")
		p.printConfig(s.Config)
	}
	if s.Partial {
		p.line("")
		p.line("%s", p.paint(style.Faint, "The layers below are not here: what was added and what changed is not told apart."))
	}
}

// Print prints the step with the tree of what it changed.
func (s *Show) Print(p *Printer) {
	s.head(p)
	if len(s.Entries) == 0 {
		return
	}
	p.line("")
	owners, sizes := 0, 0
	for _, e := range s.Entries {
		owners, sizes = max(owners, len(owner(e.UID, e.GID))), max(sizes, len(human.Size(e.Size)))
	}
	for _, e := range s.Entries {
		depth := strings.Count(e.Path, "/")
		name := human.Quoted(path.Base(e.Path))
		if e.Path == "/" {
			depth = 0
		} else if strings.HasPrefix(e.Mode, "d") {
			name += "/"
		}
		size := ""
		if strings.HasPrefix(e.Mode, "-") {
			size = human.Size(e.Size)
		}
		p.line("%s %s %-*s %*s  %s%s%s", p.mark(e.Change), e.Mode, owners, owner(e.UID, e.GID), sizes, size,
			strings.Repeat("  ", depth), p.tint(e.Change, name), s.behind(e))
	}
}

// behind is what stands behind a name: where a link leads, and what changed.
func (s *Show) behind(e ShowEntry) string {
	text := ""
	if e.Link != "" {
		text = " -> " + human.Quoted(e.Link)
	}
	detail := e.Detail
	if e.Before != nil {
		detail = strings.Replace(detail, "content", fmt.Sprintf("content, was %s", human.Size(*e.Before)), 1)
	}
	if detail != "" {
		text += "  (" + detail + ")"
	}
	return text
}

// tint paints a name in the colour of its change.
func (p *Printer) tint(change, text string) string {
	if color := colors[change]; color != "" {
		return p.paint(color, text)
	}
	return text
}

// Stat prints the step with a line for each file, and sums.
func (s *Show) Stat(p *Printer) {
	s.head(p)
	width, n := 0, 0
	for _, e := range s.Entries {
		if e.file() {
			width, n = max(width, len([]rune(human.Quoted(e.Path)))), n+1
		}
	}
	if n == 0 {
		return
	}
	p.line("")
	for _, e := range s.Entries {
		if !e.file() {
			continue
		}
		name := human.Quoted(e.Path)
		size := human.Size(e.Size)
		switch {
		case e.Change == "removed":
			size = "-" + size
		case e.Before != nil:
			size = human.Size(*e.Before) + " → " + size
		}
		p.line(" %s %s%*s | %s", p.mark(e.Change), name, max(0, width-len([]rune(name))), "", p.tint(e.Change, size))
	}
	p.line(" %s", s.sum())
}

func (e *ShowEntry) file() bool { return e.Change != "" && !strings.HasPrefix(e.Mode, "d") }

// sum is the last line of Stat: "3 files added, 1 removed, 12kB".
func (s *Show) sum() string {
	count := map[string]int{}
	for _, e := range s.Entries {
		if e.file() {
			count[e.Change]++
		}
	}
	var words []string
	for _, c := range []string{"present", "added", "changed", "written", "removed"} {
		n := count[c]
		switch {
		case n == 0:
		case len(words) == 0 && n == 1:
			words = append(words, "1 file "+c)
		case len(words) == 0:
			words = append(words, fmt.Sprintf("%d files %s", n, c))
		default:
			words = append(words, fmt.Sprintf("%d %s", n, c))
		}
	}
	if s.Layer != nil {
		words = append(words, s.Layer.size())
	}
	return strings.Join(words, ", ")
}
