package page

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strconv"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/look/timeline"
	"github.com/strata-build/strata/internal/look/view"
)

// bytesView tells where an image's bytes are.
type bytesView struct {
	Image string
	*view.Du
	Wide, Narrow []tile
	Bars         []bar
	Contained    bool
}

// bar is a layer with its bytes.
type bar struct {
	Row            row
	Stored, Hidden int64
	Seen, Lost     float64 // of all bytes, in percent
}

// The extents of the two treemaps, in units of their pictures: for a screen, and for a phone held upright.
var (
	wide   = box{0, 0, 1200, 560}
	narrow = box{0, 0, 380, 560}
)

// box is a rectangle.
type box struct{ X, Y, W, H float64 }

// tile is a rectangle of the treemap: a layer, or a directory or file of one.
type tile struct {
	box
	Row    int // whose layer it is, -1 for none
	Node   int // the path, 0 for all of the layer: its number in the order of paths
	Title  string
	Label  string // "" where there is no room
	Depth  int
	Base   bool
	Wasted bool // a later layer hides all of it
}

// TextX and TextY are where the label begins.
func (t tile) TextX() float64 { return t.X + 5 }

// TextY is the label's line.
func (t tile) TextY() float64 { return t.Y + 14 }

// errPartial is the error for what needs all layers of an image.
var errPartial = errors.New("some of its layers are in a registry only; fetch the last one on the page of its layers")

// account tells where the bytes are. It is made once.
func (o *opened) account() (*bytesView, error) {
	o.making.Lock()
	defer o.making.Unlock()
	if o.isPartial() {
		return nil, errPartial // else nobody changes the timeline any more
	}
	o.mu.Lock()
	known := o.weighed
	o.mu.Unlock()
	if known != nil {
		return known, nil
	}
	du, err := view.DuOf(o.im, o.t, view.DuOptions{Depth: 1})
	if err != nil {
		return nil, err
	}
	v := &bytesView{Image: o.im.Text, Du: du}
	w := newWeights(o)
	v.Wide, v.Narrow = w.tiles(wide), w.tiles(narrow)
	whole := float64(max(1, du.Stored))
	for _, l := range slices.Backward(du.Layers) {
		b := bar{Stored: l.Stored, Hidden: l.Hidden, Seen: 100 * float64(l.Stored-l.Hidden) / whole, Lost: 100 * float64(l.Hidden) / whole}
		if r := o.im.RowOf(l.Layer - 1); r >= 0 {
			b.Row = newRow(o, r)
		}
		v.Bars = append(v.Bars, b)
	}
	o.mu.Lock()
	o.weighed = v
	o.mu.Unlock()
	return v, nil
}

// heldBy is what a layer itself holds of a path.
type heldBy struct {
	place  int32 // in the order of paths
	wasted bool
	size   int64
}

// weights are the bytes of each layer's paths.
type weights struct {
	o      *opened
	layers [][]heldBy // of each layer, in the order of the paths
	sums   []int64    // of each path and all below it in the layer that is drawn
	lost   []int64    // of sums, what later layers hide
}

func newWeights(o *opened) *weights {
	w := &weights{o: o, layers: make([][]heldBy, o.t.Layers()), sums: make([]int64, len(o.order)), lost: make([]int64, len(o.order))}
	type key struct {
		n     timeline.Node
		layer int
	}
	hidden := map[key]bool{}
	for _, h := range timeline.FindWaste(o.t).Items {
		hidden[key{h.Node, h.Layer}] = true
	}
	for place, n := range o.order {
		for e := range o.t.Events(n) {
			if size := e.Stored(); size > 0 {
				w.layers[e.Layer] = append(w.layers[e.Layer], heldBy{int32(place), hidden[key{n, e.Layer}], size})
			}
		}
	}
	return w
}

// weighed is something with a size, to be drawn.
type weighed struct {
	place int
	size  int64
}

// tiles draws all layers in a box, each with its directories.
func (w *weights) tiles(in box) []tile {
	var layers []weighed
	for i, held := range w.layers {
		sum := int64(0)
		for _, h := range held {
			sum += h.size
		}
		if sum > 0 {
			layers = append(layers, weighed{i, sum})
		}
	}
	slices.SortStableFunc(layers, func(a, b weighed) int { return cmp.Compare(b.size, a.size) })
	base := w.o.im.BaseRow()
	var all []tile
	for i, b := range squarify(in, sizes(layers)) {
		index := layers[i].place
		row := w.o.im.RowOf(index)
		own := tile{box: b, Row: row, Base: row >= 0 && row <= base}
		text := "layer " + strconv.Itoa(index+1)
		if row >= 0 {
			r := newRow(w.o, row)
			text = strconv.Itoa(row+1) + " " + r.Name + " " + r.Text
		}
		own.Title = human.Shorten(text, 120) + " · " + human.Size(layers[i].size)
		own.Label = fitting(own.Title, b.W)
		all = append(all, own)
		w.sum(index)
		all = w.inside(all, own, 0, box{b.X + 2, b.Y + 18, b.W - 4, b.H - 20}, 1)
		w.clear(index)
	}
	return all
}

// sum adds up the bytes of a layer; clear undoes it.
func (w *weights) sum(index int) {
	for _, h := range w.layers[index] {
		for n := w.o.order[h.place]; n != timeline.None; n = w.o.t.Parent(n) {
			w.sums[w.o.places[n]] += h.size
			if h.wasted {
				w.lost[w.o.places[n]] += h.size
			}
		}
	}
}

func (w *weights) clear(index int) {
	for _, h := range w.layers[index] {
		for n := w.o.order[h.place]; n != timeline.None; n = w.o.t.Parent(n) {
			w.sums[w.o.places[n]], w.lost[w.o.places[n]] = 0, 0
		}
	}
}

// A tile that is smaller than this is not drawn, and below maxDepth there are no directories of their own.
const (
	smallest = 9
	maxDepth = 4
)

// inside draws what a path holds of its layer.
func (w *weights) inside(all []tile, of tile, place int, in box, depth int) []tile {
	if in.W < smallest || in.H < smallest || depth > maxDepth {
		return all
	}
	var list []weighed
	for n := range w.o.t.Children(w.o.order[place]) {
		if p := int(w.o.places[n]); w.sums[p] > 0 {
			list = append(list, weighed{p, w.sums[p]})
		}
	}
	if len(list) == 1 && w.hasBelow(list[0].place) {
		return w.inside(all, of, list[0].place, in, depth) // one directory in another: its path says both
	}
	slices.SortStableFunc(list, func(a, b weighed) int { return cmp.Compare(b.size, a.size) })
	for i, b := range squarify(in, sizes(list)) {
		if b.W < smallest || b.H < smallest {
			continue
		}
		p := list[i].place
		path := "/" + w.o.t.Path(w.o.order[p])
		t := tile{box: b, Row: of.Row, Node: p, Base: of.Base, Depth: depth, Wasted: w.lost[p] == w.sums[p]}
		t.Title = human.Shorten(human.Quoted(path), 160) + " · " + human.Size(list[i].size)
		if lost := w.lost[p]; lost > 0 {
			t.Title += ", " + human.Size(lost) + " wasted"
		}
		t.Label = fitting(human.Quoted(w.o.t.Name(w.o.order[p])), b.W)
		if b.H < 18 {
			t.Label = ""
		}
		all = append(all, t)
		if !t.Wasted && b.H > 40 {
			all = w.inside(all, t, p, box{b.X + 2, b.Y + 18, b.W - 4, b.H - 20}, depth+1)
		}
	}
	return all
}

// hasBelow says whether a path holds something with bytes of the layer that is drawn.
func (w *weights) hasBelow(place int) bool {
	for n := range w.o.t.Children(w.o.order[place]) {
		if w.sums[w.o.places[n]] > 0 {
			return true
		}
	}
	return false
}

// fitting is a text that fits a width, "" where nothing of it would be understood. A letter takes 6.4 units.
func fitting(text string, width float64) string {
	room := int((width - 10) / 6.4)
	if room < 4 {
		return ""
	}
	return human.Shorten(text, room)
}

func sizes(list []weighed) []float64 {
	out := make([]float64, len(list))
	for i, x := range list {
		out[i] = float64(x.size)
	}
	return out
}

// squarify divides a box into rectangles with areas in proportion to values, which are sorted from the largest, so
// that each is about as wide as high (Bruls, Huizing, van Wijk: Squarified Treemaps, 2000).
func squarify(in box, values []float64) []box {
	total := 0.0
	for _, v := range values {
		total += v
	}
	if total <= 0 || in.W <= 0 || in.H <= 0 {
		return make([]box, len(values))
	}
	scale := in.W * in.H / total
	var out []box
	for len(out) < len(values) {
		rest := values[len(out):]
		side := min(in.W, in.H)
		n, sum := 1, rest[0]*scale
		for n < len(rest) && worst(rest[:n+1], scale, sum+rest[n]*scale, side) <= worst(rest[:n], scale, sum, side) {
			sum += rest[n] * scale
			n++
		}
		thick := sum / side
		at := 0.0
		for _, v := range rest[:n] {
			long := v * scale / thick
			if in.W >= in.H {
				out = append(out, box{in.X, in.Y + at, thick, long})
			} else {
				out = append(out, box{in.X + at, in.Y, long, thick})
			}
			at += long
		}
		if in.W >= in.H {
			in.X, in.W = in.X+thick, max(in.W-thick, 1e-6)
		} else {
			in.Y, in.H = in.Y+thick, max(in.H-thick, 1e-6)
		}
	}
	return out
}

// worst is how far the narrowest of a row's rectangles is from a square.
func worst(row []float64, scale, sum, side float64) float64 {
	largest, least := row[0]*scale, row[len(row)-1]*scale
	return max(side*side*largest/(sum*sum), sum*sum/(side*side*max(least, 1e-9)))
}

// bytes shows where an image's bytes are.
func (s *Server) bytes(r *http.Request) (*document, error) {
	o, err := s.gallery.open(r.Context(), r.FormValue("image"))
	if err != nil {
		return nil, err
	}
	v, err := o.account()
	if err != nil {
		return nil, err
	}
	h := o.header()
	return &document{Title: o.im.Text, View: "bytes", Tab: "bytes", Image: &h, Data: v}, nil
}
