package page

import (
	"net/http"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/look/timeline"
	"github.com/strata-build/strata/internal/look/view"
)

// directory is what a directory holds at a row, each entry with the row that it is of.
type directory struct {
	Image   string
	Row     int
	Layer   int
	Rows    []row // those with a layer, to choose from
	Way     []way // from the root
	Node    int
	Entries []entry
	More    int // entries after these
	Next    int
}

// way is a directory on the way to another one.
type way struct {
	Name string
	Node int
}

// entry is a path in a directory.
type entry struct {
	Name, Mode, Owner, Link string
	Node                    int
	Size                    int64
	Dir, File               bool
	Layer                   int // that it is of
	By                      row
}

// files shows a directory of an image's state.
func (s *Server) files(r *http.Request) (*document, error) {
	o, err := s.gallery.open(r.Context(), r.FormValue("image"))
	if err != nil {
		return nil, err
	}
	last := len(o.im.Rows) - 1
	at, err := number(r, "row", last, last)
	if err != nil {
		return nil, err
	}
	t, order := o.timeline()
	node, err := number(r, "node", 0, len(order)-1)
	if err != nil {
		return nil, err
	}
	from, err := number(r, "from", 0, len(order))
	if err != nil {
		return nil, err
	}
	d := &directory{Image: o.im.Text, Row: at, Layer: min(o.top(at), t.Layers()-1), Node: node}
	for i, x := range o.im.Rows {
		if x.Layer >= 0 && x.Layer < t.Layers() {
			d.Rows = append(d.Rows, newRow(o, i))
			d.Rows[len(d.Rows)-1].Selected = x.Layer == d.Layer
		}
	}
	o.list(d, t, order, from)
	h := o.header()
	return &document{Title: o.im.Text, View: "files", Tab: "files", Image: &h, Data: d}, nil
}

// list fills in what a directory holds.
func (o *opened) list(d *directory, t *timeline.Timeline, order []timeline.Node, from int) {
	place := func(n timeline.Node) int { return int(o.places[n]) }
	for n := order[d.Node]; ; n = t.Parent(n) {
		d.Way = append([]way{{human.Quoted(t.Name(n)), place(n)}}, d.Way...)
		if n == timeline.Root {
			break
		}
	}
	d.Way[0].Name = "/"
	by := map[int]row{}
	at := 0
	for n := range t.Children(order[d.Node]) {
		e, ok := t.At(n, d.Layer)
		if !ok || e.Kind == timeline.Removed {
			continue
		}
		if at++; at <= from {
			continue
		}
		if len(d.Entries) == listed {
			d.More++
			continue
		}
		x := entry{
			Name: human.Quoted(t.Name(n)), Mode: view.Mode(e.Type, e.Mode), Owner: owner(e.UID, e.GID), Node: place(n), Size: e.Size,
			Dir: e.Type == layer.Dir, File: e.Type == layer.File, Layer: e.Layer,
		}
		if e.Link != "" {
			x.Link = human.Quoted(e.Link)
		}
		if _, known := by[e.Layer]; !known {
			if r := o.im.RowOf(e.Layer); r >= 0 {
				by[e.Layer] = newRow(o, r)
				short := by[e.Layer]
				short.Text = human.Shorten(short.Text, 60)
				by[e.Layer] = short
			}
		}
		x.By = by[e.Layer]
		d.Entries = append(d.Entries, x)
	}
	d.Next = from + len(d.Entries)
}
