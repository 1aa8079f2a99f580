package page

import (
	"context"
	"strings"
	"time"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/look/timeline"
	"github.com/strata-build/strata/internal/look/view"
)

// header is what stands above all views of an image.
type header struct {
	Image    string // as the person named it, for addresses
	Names    []string
	ID       string
	Platform string
	Created  string
	Layers   int
	Size     int64 // of all layers' files, -1 if one is not known
	Wasted   int64 // of Size, which nobody sees
	Partial  bool  // of some layers nothing is known yet but what moves
}

// imageView is the list of an image's rows, with one or all of them in detail.
type imageView struct {
	header
	Groups  []group
	Details []*detail
	// Contained says that all is in one file, without a server.
	Contained bool
	// Unmarked says that it is not known yet which rows brought vulnerabilities.
	Unmarked bool
}

// group is a part of the rows that belongs together: a base image's, or the image's own.
type group struct {
	Base bool
	Name string // of the image whose rows these are
	Rows []row
	Size int64
}

// row is a line of the list.
type row struct {
	Index    int // of the rows, the oldest is 0
	Name     string
	Text     string
	Size     int64 // -1 if it is not known
	Blob     int64 // what moves of a layer whose size is not known
	Share    int   // of the largest layer, in percent
	Layer    bool  // it has one, or else only changes the configuration
	Number   int   // of the layer, counted from 0; -1 for none
	Mark     *mark // of known vulnerabilities, nil for none or where that is not known yet
	Selected bool
}

// detail is all about one row.
type detail struct {
	row
	Image     string // as the person named it, for addresses
	Command   string // laid out for reading
	Raw       string // as the image has it, "" where that is the same
	Comment   string
	Created   string
	State     string // ID
	DiffID    string
	Names     []string
	Base      string // the base image that the row belongs to
	Config    []view.ConfigChange
	Made      *Made
	Packages  *rowPackages    // nil where it changed none
	Counts    *timeline.Stats // nil where the layer, or one below it, is not here
	Files     []change        // the first of those that it changed
	More      int             // how many there are after these
	Next      int             // at which of them the next page begins
	Contained bool            // all is in one file: there is no server to ask
}

// change is a path that a layer changed.
type change struct {
	Number int // in the image's order of paths
	Layer  int // that holds it, or held it
	Kind   string
	Path   string
	Size   int64
	Detail string
	File   bool // it can be read
}

func (o *opened) header() header {
	im := o.im
	t, _ := o.timeline()
	h := header{Image: im.Text, ID: string(im.ID), Layers: im.Layers(), Created: date(im.Config.Created), Platform: platform.Format(im.Config.Platform)}
	for i := range im.Layers() {
		r := im.RowOf(i)
		switch {
		case i < t.Layers():
			h.Size += t.Stats(i).Stored
		case r >= 0 && im.Rows[r].Size >= 0:
			h.Size, h.Partial = h.Size+im.Rows[r].Size, true
		default:
			h.Size, h.Partial = -1<<60, true
		}
	}
	h.Size = max(h.Size, -1)
	for _, name := range im.Rows[len(im.Rows)-1].Base {
		if name != im.Text {
			h.Names = append(h.Names, name)
		}
	}
	if !h.Partial {
		o.mu.Lock()
		h.Wasted = o.wasted
		o.mu.Unlock()
	}
	return h
}

// firstSelected is the row that is seen first: the last one with a layer, of which there is most to see.
func (o *opened) firstSelected() int {
	for i := len(o.im.Rows) - 1; i >= 0; i-- {
		if o.im.Rows[i].Layer >= 0 && o.im.Rows[i].Size != 0 {
			return i
		}
	}
	return len(o.im.Rows) - 1
}

// newImageView makes the view of an image with one row selected. What is known of vulnerabilities marks rows; nil
// is nothing.
func newImageView(o *opened, selected int, known *vulnerable) *imageView {
	v := &imageView{header: o.header(), Unmarked: known == nil && !o.isPartial()}
	marks := o.marks(known)
	largest := int64(1)
	sizes := make([]int64, len(o.im.Rows))
	t, _ := o.timeline()
	for i, r := range o.im.Rows {
		sizes[i] = r.Size
		if r.Layer >= 0 && r.Layer < t.Layers() {
			sizes[i] = t.Stats(r.Layer).Stored
		}
		largest = max(largest, sizes[i])
	}
	g := group{}
	for i := range o.im.Rows {
		r := &o.im.Rows[i]
		x := newRow(o, i)
		x.Size, x.Selected, x.Mark = sizes[i], i == selected, marks[i]
		x.Share = int(100 * max(0, x.Size) / largest)
		g.Rows = append(g.Rows, x)
		g.Size += max(0, x.Size)
		last := i == len(o.im.Rows)-1
		if !last && len(r.Base) > 0 {
			g.Base, g.Name = true, strings.Join(r.Base, ", ")
			v.Groups, g = append(v.Groups, g), group{}
		}
		if last {
			g.Name = o.im.Text
			v.Groups = append(v.Groups, g)
		}
	}
	return v
}

func newRow(o *opened, index int) row {
	r := &o.im.Rows[index]
	x := row{Index: index, Layer: r.Layer >= 0, Number: r.Layer, Blob: -1, Size: r.Size}
	if x.Layer {
		_, x.Blob = o.im.Blob(r.Layer)
	}
	x.Name, x.Text = splitInstruction(human.Shorten(oneLine(clip(view.Instruction(r), 600)), 400))
	return x
}

func clip(text string, n int) string { return text[:min(n, len(text))] }

// listed is how many files stand in the HTML. The script shows all, and so a page that may have one begins with
// listedFirst: 200 lines cost a browser 40 ms, a third of what the page takes it.
const (
	listed      = 200
	listedFirst = 40
)

// newDetail makes the view of one row, with the changed files from a number on. It waits no longer for packages
// than patience; 0 is for a file, which is made once and waits for all.
func (g *gallery) newDetail(ctx context.Context, o *opened, index, from int, patience time.Duration) (*detail, error) {
	r := &o.im.Rows[index]
	d := &detail{row: newRow(o, index), Image: o.im.Text, Comment: r.History.Comment, Created: date(r.History.Created), State: string(r.ID)}
	if g.Made != nil {
		made, err := g.Made(&r.Row)
		if err != nil {
			return nil, err
		}
		d.Made = made
	}
	written := view.Instruction(r)
	if d.Made != nil && d.Made.Written != "" {
		written = d.Made.Written
	}
	d.Command = clipped(format(written))
	if raw := clipped(r.History.CreatedBy); raw != written {
		d.Raw = raw
	}
	if index < len(o.im.Rows)-1 {
		d.Names = r.Base
	}
	for _, later := range o.im.Rows[index : len(o.im.Rows)-1] {
		if len(later.Base) > 0 {
			d.Base = later.Base[0]
			break
		}
	}
	var before *image.Config
	if index > 0 {
		before, _ = image.Parse(o.im.Rows[index-1].Config) // a row whose config is damaged changes nothing that is known
	}
	if after, err := image.Parse(r.Config); err == nil {
		d.Config = view.CompareConfigs(before, after)
	}
	if !d.Layer {
		return d, nil
	}
	d.DiffID = string(r.DiffID)
	t, order := o.timeline()
	if r.Layer >= t.Layers() {
		return d, nil
	}
	stats := t.Stats(r.Layer)
	d.Size, d.Counts = stats.Stored, &stats
	most := listed
	if from == 0 && patience > 0 {
		most = listedFirst
	}
	d.Files, d.More = changes(t, order, r.Layer, from, most)
	d.Next = from + len(d.Files)
	d.Packages = g.ofRow(ctx, o, index, patience)
	return d, ctx.Err()
}

// changes lists what a layer changed, a page of at most so many, and says how many come after.
func changes(t *timeline.Timeline, order []timeline.Node, index, from, most int) (page []change, more int) {
	at := 0
	for number, n := range order {
		s, ok := t.StateAt(n, index)
		if !ok || s.Layer != index || s.Kind == timeline.Kept {
			continue
		}
		if at++; at <= from {
			continue
		}
		if len(page) == most {
			more++
			continue
		}
		e, _ := t.At(n, index)
		c := change{Number: number, Layer: index, Kind: string(e.Kind), Path: "/" + t.Path(n), Size: e.Size, File: e.Type == layer.File && e.Kind != timeline.Removed}
		if e.Type == layer.Dir && n != timeline.Root {
			c.Path += "/"
		}
		c.Path = human.Quoted(c.Path)
		if e.Kind == timeline.Changed {
			before, _ := t.At(n, index-1)
			c.Detail = view.What(before, e)
		}
		if e.Type == layer.Symlink {
			c.Detail = "→ " + human.Quoted(e.Link)
		}
		page = append(page, c)
	}
	return page, more
}

// Date is when the record was made.
func (m *Made) Date() string { return date(&m.At) }

// Duration is how long the step ran, "" where that is not known.
func (m *Made) Duration() string {
	if m.Took <= 0 {
		return ""
	}
	return duration(m.Took.Round(10 * time.Millisecond))
}
