package timeline

import (
	"cmp"
	"slices"

	"github.com/strata-build/strata/internal/layer"
)

// Hidden is a file of one layer that a later layer hides.
type Hidden struct {
	Node  Node
	Layer int // that holds the bytes, counted from 0
	// By is the layer that hides them: it removed the file, or wrote it again.
	By   int
	Kind Kind             // what By did: Removed, Changed, Kept (the same contents again) or Added
	What layer.Attributes // of Changed and Kept, in what the two differ
	Size int64            // bytes
}

// Waste is what an image carries and nobody sees: files that a later layer wrote again or removed, and which are moved
// with the image all the same.
type Waste struct {
	Items []Hidden // the largest first, of equal ones in the order of the paths' appearance
	// Bytes is the sum of the items, Stored of all files of all layers.
	Bytes, Stored int64
}

// FindWaste goes through all paths of an image. Empty files waste nothing, nor does one that can still be seen by another
// name.
func FindWaste(t *Timeline) *Waste {
	r := &Waste{}
	linked := seenLinks(t)
	for i := range t.Layers() {
		r.Stored += t.Stats(i).Stored
	}
	for n := range Node(t.Len()) {
		var later *Event
		for e := range t.Events(n) {
			if size := e.Stored(); size > 0 && later != nil && !linked[stored{e.Layer, n}] {
				r.Items = append(r.Items, Hidden{Node: n, Layer: e.Layer, By: later.Layer, Kind: later.Kind, What: later.What, Size: size})
				r.Bytes += size
			}
			later = &e
		}
	}
	slices.SortStableFunc(r.Items, func(a, b Hidden) int { return cmp.Compare(b.Size, a.Size) })
	return r
}

// stored is a file of a layer.
type stored struct {
	layer int
	node  Node
}

// seenLinks are the files that have a hard link in their layer which no later layer hides.
func seenLinks(t *Timeline) map[stored]bool {
	seen := map[stored]bool{}
	for _, l := range t.HardLinks() {
		if e, ok := t.StateAt(l.Node, t.Layers()-1); ok && e.Layer == l.Layer && e.Kind != Removed {
			seen[stored{l.Layer, l.To}] = true
		}
	}
	return seen
}

// Efficiency is the part of the image's bytes that can be seen, from 0 to 1.
func (r *Waste) Efficiency() float64 {
	if r.Stored == 0 {
		return 1
	}
	return 1 - float64(r.Bytes)/float64(r.Stored)
}
