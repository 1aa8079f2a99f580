package layer

import (
	"slices"
	"sort"
	"strings"
)

// merged are the entries of a merged view, in canonical order.
type merged struct {
	tables []placedTable // of the layers
	made   []made
	index  []stacked
	// resolved is how many were made of layers' entries; those behind them are implied parents.
	resolved int
	// samples are the paths of every sampleStep-th entry, in which a path is looked for first; nil where no table is
	// packed, and all paths are in memory.
	samples []string
}

const sampleStep = 64

// placedTable is a table of contents whose entries are found by their places: a TOC or a Packed.
type placedTable interface {
	Table
	cursor() tableReader
}

// stacked is an entry of the merged view.
type stacked struct {
	place uint32 // in the layer's table, or, with isMade, in what was made
	layer int32  // -1 for an implied parent
	end   int32  // index of the first entry after this one that is not in it
}

// isMade is the bit of a place that is one in merged.made.
const isMade = 1 << 31

// made is an entry that comes out otherwise than it is in a table: of an implied parent, an opaque directory, a hard
// link.
type made struct {
	e    *Entry
	file int32 // the place of what a hard link shares, in the layer's table; -1 for another
}

// peek is an entry as tableReader.peek gives it.
func (m *merged) peek(c *cursors, i int) *Entry {
	x := m.index[i]
	if x.place&isMade != 0 {
		return m.made[x.place&^isMade].e
	}
	return c.of(m, x.layer).peek(int(x.place))
}

// entry is an entry that stays as it is.
func (m *merged) entry(c *cursors, i int) *Entry {
	x := m.index[i]
	if x.place&isMade != 0 {
		return m.made[x.place&^isMade].e
	}
	return c.of(m, x.layer).entry(int(x.place))
}

// file is the place of a File's contents in the table of its layer.
func (m *merged) file(i int) (place int, isLink bool) {
	x := m.index[i]
	if x.place&isMade == 0 {
		return int(x.place), false
	}
	if file := m.made[x.place&^isMade].file; file >= 0 {
		return int(file), true
	}
	return -1, false
}

// add puts an entry that was made behind all others.
func (m *merged) add(e *Entry, file int32, layer int32) {
	m.index = append(m.index, stacked{place: isMade | uint32(len(m.made)), layer: layer})
	m.made = append(m.made, made{e, file})
}

// cursors read the tables of a merged view for one goroutine.
type cursors struct {
	layer  int32 // whose cursor is now
	now    tableReader
	packed map[int32]tableReader
}

// of is the cursor of a layer.
func (c *cursors) of(m *merged, layer int32) tableReader {
	if c.now != nil && c.layer == layer {
		return c.now
	}
	c.layer = layer
	if t, ok := m.tables[layer].(*TOC); ok {
		c.now = t.cursor()
		return c.now
	}
	if c.now = c.packed[layer]; c.now == nil {
		if c.packed == nil {
			c.packed = map[int32]tableReader{}
		}
		c.now = m.tables[layer].cursor()
		c.packed[layer] = c.now
	}
	return c.now
}

// addLayer puts one layer on top of what is merged already. Both are in canonical order, where all that a directory
// holds follows it, so that what a whiteout hides is one run.
func (m *merged) addLayer(layer int32) {
	t := m.tables[layer]
	low, lows := *m, &cursors{} // what is not above the next entry
	m.index = make([]stacked, 0, len(low.index)+t.Len())
	drop := func() { low.index = low.index[1:] }
	top, targets := t.cursor(), t.cursor()
	for i := range t.Len() {
		e := top.peek(i)
		n := low.before(lows, e.Path)
		m.index = append(m.index, low.index[:n]...)
		low.index = low.index[n:]
		if len(low.index) > 0 && low.peek(lows, 0).Path == e.Path {
			drop()
		}
		if e.Type != Dir || e.Opaque {
			for len(low.index) > 0 && Within(low.peek(lows, 0).Path, e.Path) {
				drop()
			}
		}
		if e.Type != Whiteout {
			m.addResolved(t, top, targets, i, layer)
		}
	}
	m.index = append(m.index, low.index...)
}

// before is the number of entries at the beginning that come before path. Layers mostly touch different directories,
// so that runs are long: the steps double until one is too far.
func (m *merged) before(c *cursors, path string) int {
	reaches := func(i int) bool { return Compare(m.peek(c, i).Path, path) >= 0 }
	if len(m.index) == 0 || reaches(0) {
		return 0
	}
	lo, step := 0, 1 // the entry at lo comes before path
	for lo+step < len(m.index) && !reaches(lo+step) {
		lo += step
		step *= 2
	}
	hi := min(lo+step, len(m.index))
	return lo + 1 + sort.Search(hi-lo-1, func(i int) bool { return reaches(lo + 1 + i) })
}

// addResolved puts the entry at a place of a layer's table behind all others: a file in the place of a hard link, and
// without a mark. Of the readers of the table, targets is for what hard links lead to.
func (m *merged) addResolved(t placedTable, top, targets tableReader, place int, layer int32) {
	e := top.peek(place)
	switch {
	case e.Type == Hardlink:
		file, target := placeOf(t, targets, e.Link)
		if target == nil {
			break
		}
		whole := *target
		whole.Path = e.Path
		m.add(&whole, int32(file), layer)
		return
	case e.Opaque:
		plain := *top.entry(place)
		plain.Opaque = false
		m.add(&plain, -1, layer)
		return
	}
	m.index = append(m.index, stacked{place: uint32(place), layer: layer})
}

// placeOf finds a path in a table; nil if it is not there.
func placeOf(t placedTable, c tableReader, path string) (int, *Entry) {
	i := 0
	switch t := t.(type) {
	case *Packed:
		i = t.find(path, c)
	case *TOC:
		i = t.find(path)
	}
	if i == t.Len() || c.peek(i).Path != path {
		return 0, nil
	}
	return i, c.entry(i)
}

// close adds implied parents and sets end of every entry.
func (m *merged) close() {
	old, c := *m, &cursors{}
	m.index, m.resolved, m.samples = make([]stacked, 0, len(old.index)+1), len(m.made), nil
	type dir struct {
		at   int32
		path string
	}
	var open []dir // that hold the current entry
	leave := func() {
		m.index[open[len(open)-1].at].end = int32(len(m.index))
		open = open[:len(open)-1]
	}
	imply := func(path string, modTime int64) {
		open = append(open, dir{int32(len(m.index)), path})
		m.add(&Entry{Path: path, Type: Dir, Mode: 0o755, ModTime: modTime}, -1, -1)
	}
	if len(old.index) == 0 || old.peek(c, 0).Path != "" {
		imply("", 0)
	}
	for i, x := range old.index {
		e := old.peek(c, i)
		for len(open) > 0 && !Within(e.Path, open[len(open)-1].path) {
			leave()
		}
		if len(open) > 0 {
			have := open[len(open)-1].path
			for have != Parent(e.Path) {
				rest := e.Path[len(have):]
				name, _, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
				have = join(have, name)
				imply(have, e.ModTime)
			}
		}
		open = append(open, dir{int32(len(m.index)), e.Path})
		m.index = append(m.index, x)
	}
	for len(open) > 0 {
		leave()
	}
	m.sample()
}

// sample takes the samples.
func (m *merged) sample() {
	if !slices.ContainsFunc(m.tables, func(t placedTable) bool { _, ok := t.(*Packed); return ok }) {
		return
	}
	c := &cursors{}
	m.samples = make([]string, 0, len(m.index)/sampleStep+1)
	for i := 0; i < len(m.index); i += sampleStep {
		m.samples = append(m.samples, strings.Clone(m.peek(c, i).Path))
	}
}

// search is the index of a path's entry, or the one at which it would be.
func (m *merged) search(c *cursors, path string) int {
	from, to := 0, len(m.index)
	if m.samples != nil {
		n := sort.Search(len(m.samples), func(i int) bool { return Compare(m.samples[i], path) >= 0 })
		from, to = max(n-1, 0)*sampleStep, min(n*sampleStep, to)
	}
	return from + sort.Search(to-from, func(i int) bool { return Compare(m.peek(c, from+i).Path, path) >= 0 })
}
