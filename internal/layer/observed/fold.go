package observed

import (
	"cmp"
	"slices"

	"github.com/strata-build/strata/internal/layer"
)

// MaxEncoded is how many bytes the inputs of a step take at most: they are part of an image's config. It is room for some
// 600 names.
const MaxEncoded = 16 << 10

// Fold makes inputs smaller until they take no more than limit bytes: the names in a directory give way to the directory as
// a whole. First those go of which most was asked, so that hardly anything counts that did not before. views are those
// of the trees. A directory as a whole counts for more than what was asked in it, never for less.
func (in *Inputs) Fold(views []*View, limit int) {
	size := len(in.Encode())
	if size <= limit {
		return
	}
	var all []*folder
	for i := range in.Trees {
		all = append(all, in.Trees[i].folders(views[i])...)
	}
	slices.SortStableFunc(all, func(a, b *folder) int {
		return cmp.Or(cmp.Compare(b.part, a.part), cmp.Compare(b.bytes, a.bytes))
	})
	for _, f := range all {
		if size <= limit {
			break
		}
		if f.inputs > 1 && !f.isFolded() {
			size -= f.fold()
		}
	}
	for i := range in.Trees {
		in.Trees[i].replace(views[i], all)
	}
}

// folder is a directory that could be one input.
type folder struct {
	view   *View
	node   int
	parent *folder // nil of the root
	inputs int     // in it
	bytes  int     // that they take
	part   float64 // of what is in the directory that was asked for
	folded bool
}

// inputBytes is what an input takes beside its path, at most.
const inputBytes = 20

// isFolded says whether it, or a directory that it is in, is one input.
func (f *folder) isFolded() bool {
	for ; f != nil; f = f.parent {
		if f.folded {
			return true
		}
	}
	return false
}

// fold makes it one input, and says how many bytes that saves.
func (f *folder) fold() int {
	saved := f.bytes - inputBytes - len(f.view.Name(f.node))
	f.folded = true
	for up := f; up != nil; up = up.parent {
		up.bytes -= saved
	}
	return saved
}

// folders are the directories that hold inputs, the root too.
func (t *Tree) folders(v *View) []*folder {
	of := map[int]*folder{}
	var make func(n int) *folder
	make = func(n int) *folder {
		f := of[n]
		if f == nil {
			f = &folder{view: v, node: n}
			if of[n] = f; n != 0 {
				f.parent = make(v.Parent(n))
			}
		}
		return f
	}
	asked := map[*folder]int{}
	for _, x := range t.Inputs {
		bytes := inputBytes + len(x.Path) - len(layer.Parent(x.Path))
		if x.Asked&Absent != 0 {
			bytes -= len(x.Answer)
		}
		path := x.Path
		n, there := v.Find(path)
		for !there || v.Entry(n).Type != layer.Dir {
			path = layer.Parent(path)
			n, there = v.Find(path)
		}
		for f := make(n); f != nil; f = f.parent {
			f.inputs++
			f.bytes += bytes
			if x.Asked&Absent == 0 {
				asked[f]++
			}
		}
	}
	sizes := v.sizes()
	all := slices.SortedFunc(func(yield func(*folder) bool) {
		for _, f := range of {
			if !yield(f) {
				return
			}
		}
	}, func(a, b *folder) int { return cmp.Compare(a.node, b.node) })
	for _, f := range all {
		f.part = float64(asked[f]) / float64(sizes[f.node])
	}
	return all
}

// sizes are the numbers of nodes in each node, itself included.
func (v *View) sizes() []int32 {
	sizes := make([]int32, len(v.nodes))
	for n := len(v.nodes) - 1; n >= 0; n-- {
		sizes[n]++
		if n > 0 {
			sizes[v.nodes[n].parent] += sizes[n] // a parent stands before what is in it
		}
	}
	return sizes
}

// replace puts the directories that were folded in the place of what they hold.
func (t *Tree) replace(v *View, all []*folder) {
	for _, f := range all {
		if f.view != v || !f.folded || f.parent != nil && f.parent.isFolded() {
			continue
		}
		dir := v.Path(f.node)
		t.Inputs = slices.DeleteFunc(t.Inputs, func(x Input) bool {
			return x.Path == dir || dir == "" || within(x.Path, dir)
		})
		t.Inputs = append(t.Inputs, wholeOf(v, f.node))
	}
	slices.SortFunc(t.Inputs, func(a, b Input) int { return layer.Compare(a.Path, b.Path) })
}
