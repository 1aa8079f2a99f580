package explorer

import (
	"regexp"
	"slices"
	"strings"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/look/timeline"
)

// selection says which part of the timeline the tree shows.
type selection struct {
	top int // the layer at which it is seen, -1 below the first
	// all shows everything that is there at that layer, and what it removed; otherwise only what the layer did.
	all bool
	// own says that there is a layer whose changes are shown; a row that only changes the configuration has none.
	own bool
	// hide leaves kinds out; timeline.Kept stands for all that did not change.
	hide   map[timeline.Kind]bool
	filter *regexp.Regexp // nil lets everything through
	bySize bool
}

// tree is the file tree as it is shown. Its work is one pass over all paths when the selection changes, about 25 ms for
// a million, and a walk over the open directories when one is opened or closed; to scroll costs nothing.
type tree struct {
	t   *timeline.Timeline
	sel selection

	shown []bool  // by node: it, or something below it, is shown
	sizes []int64 // by node: bytes of what is shown there and below
	open  map[timeline.Node]bool
	total int // how many nodes are shown

	lines []line
}

// line is a visible line of the tree.
type line struct {
	node  timeline.Node
	depth int
}

func newTree(t *timeline.Timeline) *tree {
	return &tree{t: t, shown: make([]bool, t.Len()), sizes: make([]int64, t.Len()), open: map[timeline.Node]bool{}}
}

// show applies a selection.
func (tr *tree) show(s selection) {
	tr.sel = s
	clear(tr.shown)
	clear(tr.sizes)
	tr.total = 0
	// Nodes are numbered in the order in which they appeared, so a directory has a lower number than what it holds.
	for n := timeline.Node(tr.t.Len() - 1); n > timeline.Root; n-- {
		if size, ok := tr.self(n); ok {
			tr.shown[n] = true
			tr.sizes[n] += size
		}
		if tr.shown[n] {
			tr.total++
			parent := tr.t.Parent(n)
			tr.shown[parent] = true
			tr.sizes[parent] += tr.sizes[n]
		}
	}
	tr.flatten()
}

// self says whether a node is shown for its own sake, and its own size.
func (tr *tree) self(n timeline.Node) (int64, bool) {
	s := &tr.sel
	v, ok := tr.t.StateAt(n, s.top)
	if !ok {
		return 0, false
	}
	own := s.own && v.Layer == s.top
	kind := v.Kind
	if !own {
		kind = timeline.Kept
	}
	switch {
	case v.Kind == timeline.Removed && !own:
		return 0, false
	case !s.all && (!own || v.Kind == timeline.Kept && v.Type == layer.Dir):
		return 0, false
	case s.hide[kind]:
		return 0, false
	case s.filter != nil && !tr.matches(n):
		return 0, false
	}
	if v.Kind == timeline.Removed || !v.Stored {
		return 0, true
	}
	return v.Size, true
}

// matches compares the name with a filter, or the whole path with one that has a slash.
func (tr *tree) matches(n timeline.Node) bool {
	if strings.Contains(tr.sel.filter.String(), "/") {
		return tr.sel.filter.MatchString("/" + tr.t.Path(n))
	}
	return tr.sel.filter.MatchString(tr.t.Name(n))
}

// flatten lists the lines.
func (tr *tree) flatten() {
	tr.lines = tr.lines[:0]
	tr.add(timeline.Root, 0)
}

func (tr *tree) add(dir timeline.Node, depth int) {
	for _, n := range tr.children(dir) {
		tr.lines = append(tr.lines, line{n, depth})
		if tr.open[n] {
			tr.add(n, depth+1)
		}
	}
}

// children are what is shown of a directory, in the order of the selection.
func (tr *tree) children(dir timeline.Node) []timeline.Node {
	var list []timeline.Node
	for n := range tr.t.Children(dir) {
		if tr.shown[n] {
			list = append(list, n)
		}
	}
	if tr.sel.bySize {
		slices.SortStableFunc(list, func(a, b timeline.Node) int {
			switch {
			case tr.sizes[a] > tr.sizes[b]:
				return -1
			case tr.sizes[a] < tr.sizes[b]:
				return 1
			}
			return 0
		})
	}
	return list
}

// isDir says whether a line is a directory, so that it can be opened.
func (tr *tree) isDir(n timeline.Node) bool {
	v, ok := tr.t.StateAt(n, tr.sel.top)
	return ok && v.Type == layer.Dir
}

// sign is what the layer did to a node: one of + ~ - =, or a blank for what is as it was.
func (tr *tree) sign(n timeline.Node) byte {
	v, ok := tr.t.StateAt(n, tr.sel.top)
	if !ok || !tr.sel.own || v.Layer != tr.sel.top || v.Kind == timeline.Kept && v.Type == layer.Dir {
		return ' '
	}
	return byte(v.Kind)
}

// maxUnfolded is how many paths are shown with all directories open at first.
const maxUnfolded = 1000

// unfold opens all directories if they hold few enough paths, and otherwise those on the way to where the tree divides.
func (tr *tree) unfold() {
	clear(tr.open)
	if tr.total <= maxUnfolded {
		tr.openAll()
		return
	}
	for dir := timeline.Root; ; {
		list := tr.children(dir)
		if len(list) != 1 || !tr.isDir(list[0]) {
			break
		}
		dir = list[0]
		tr.open[dir] = true
	}
	tr.flatten()
}

// openAll opens every directory that is shown.
func (tr *tree) openAll() {
	for n := range timeline.Node(tr.t.Len()) {
		if tr.shown[n] && n != timeline.Root && tr.isDir(n) {
			tr.open[n] = true
		}
	}
	tr.flatten()
}

// closeAll closes every directory.
func (tr *tree) closeAll() {
	clear(tr.open)
	tr.flatten()
}

// toggle opens or closes a directory.
func (tr *tree) toggle(n timeline.Node) {
	if !tr.isDir(n) {
		return
	}
	if tr.open[n] {
		delete(tr.open, n)
	} else {
		tr.open[n] = true
	}
	tr.flatten()
}

// at is the index of a node's line, or of the nearest directory above it that has one; 0 if none has.
func (tr *tree) at(n timeline.Node) int {
	for ; n != timeline.Root && n != timeline.None; n = tr.t.Parent(n) {
		if i := slices.IndexFunc(tr.lines, func(l line) bool { return l.node == n }); i >= 0 {
			return i
		}
	}
	return 0
}

// reveal opens the directories above a node.
func (tr *tree) reveal(n timeline.Node) {
	for p := tr.t.Parent(n); p != timeline.Root && p != timeline.None; p = tr.t.Parent(p) {
		tr.open[p] = true
	}
	tr.flatten()
}

// find returns the next node behind from, in the order of the tree, whose name or path has the text, closed directories
// included; timeline.None if there is none. With back it goes the other way.
func (tr *tree) find(text string, from timeline.Node, back bool) timeline.Node {
	pattern := compile(text)
	if pattern == nil {
		return timeline.None
	}
	var hits []timeline.Node
	at := -1 // hits before from, or from itself
	seen := from == timeline.None
	tr.each(timeline.Root, func(n timeline.Node) {
		name := tr.t.Name(n)
		if strings.Contains(text, "/") {
			name = "/" + tr.t.Path(n)
		}
		if pattern.MatchString(name) {
			hits = append(hits, n)
			if !seen || n == from {
				at = len(hits) - 1
			}
		}
		seen = seen || n == from
	})
	if len(hits) == 0 {
		return timeline.None
	}
	if back {
		if at >= 0 && hits[at] == from || at < 0 {
			at--
		}
		return hits[(at+2*len(hits))%len(hits)]
	}
	return hits[(at+1)%len(hits)]
}

// each visits all that is shown, open or not.
func (tr *tree) each(dir timeline.Node, visit func(timeline.Node)) {
	for _, n := range tr.children(dir) {
		visit(n)
		tr.each(n, visit)
	}
}

// compile reads a filter as a regular expression, or as it stands if it is none; small letters match large ones. nil of "".
func compile(text string) *regexp.Regexp {
	if text == "" {
		return nil
	}
	flags := ""
	if strings.ToLower(text) == text {
		flags = "(?i)"
	}
	if r, err := regexp.Compile(flags + text); err == nil {
		return r
	}
	return regexp.MustCompile(flags + regexp.QuoteMeta(text))
}
