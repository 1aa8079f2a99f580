package copier

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/selection"
)

// bulk are the entries of a directory or an archive that is copied to where the draft has nothing yet: they come in
// canonical order, so they are kept encoded, in a fifth of the memory that a Draft needs for an entry. Only the last
// match of a COPY is one: before anything else is copied, or where a hard link comes to a directory that may have the
// same already, loosen makes usual entries of it.
type bulk struct {
	table *layer.Encoded
	dest  string
	tree  contents
	from  string // the directory in tree, where known is set
	known bool
	open  bool // put and passThrough add to it
	// byOffset keeps the offsets of entries, by which their contents are found in tree.
	byOffset bool
}

// maxBeside is how many entries a draft may have beside a bulk.
const maxBeside = 1000

// startBulk makes a bulk of what is put below dest from now on, if that can be.
func (w *Draft) startBulk(t contents, dest string) {
	if len(w.links) > 0 || len(w.entries) > maxBeside || len(w.order) > len(w.entries) {
		return
	}
	for name := range w.entries {
		if layer.Within(name, dest) && name != dest {
			return
		}
	}
	w.bulk = &bulk{table: layer.NewEncoded(w.spill), dest: dest, tree: t, open: true}
}

// fits says whether an item can be part of the bulk: its contents are found by its path.
func (b *bulk) fits(it *selection.Item) bool {
	dir, ok := strings.CutSuffix(it.Entry.Path, it.Target)
	if !b.known {
		b.from, b.known = dir, ok
	}
	return ok && dir == b.from && it.Link == ""
}

// source is where the contents of an entry of the bulk come from.
func (b *bulk) source(e *layer.Entry) source {
	from := *e
	from.Path = b.from + strings.TrimPrefix(strings.TrimPrefix(e.Path, b.dest), "/")
	return source{b.tree, &from}
}

// loosen makes usual entries of the draft's bulk.
func (w *Draft) loosen() error {
	b := w.bulk
	if w.bulk = nil; b == nil {
		return nil
	}
	for e := range b.table.Drain() {
		copied := *e
		copied.Offset = 0
		if e.Type == layer.Hardlink {
			w.link(e.Path, e.Link)
			continue
		}
		w.set(e.Path, &copied)
		if e.Type == layer.File {
			w.sources[e.Path] = b.source(e)
		}
	}
	return b.table.Err()
}

// sourceOf is where the contents of a file of the draft come from. Of hard links, any can be the File in the layer's
// table.
func (w *Draft) sourceOf(e *layer.Entry) (source, bool) {
	if made := w.entries[e.Path]; made != nil && made.Type == layer.Hardlink {
		s, ok := w.sources[made.Link]
		return s, ok
	}
	if s, ok := w.sources[e.Path]; ok || w.bulk == nil {
		return s, ok
	}
	return w.bulk.source(e), layer.Within(e.Path, w.bulk.dest)
}

// drain gives the entries of a draft with a bulk in canonical order, for the last time.
func (w *Draft) drain() iter.Seq[*layer.Entry] {
	beside := slices.SortedFunc(maps.Values(w.entries), func(a, b *layer.Entry) int { return layer.Compare(a.Path, b.Path) })
	before := slices.IndexFunc(beside, func(e *layer.Entry) bool {
		return layer.Compare(e.Path, w.bulk.dest) > 0 && e.Path != w.bulk.dest
	})
	if before < 0 {
		before = len(beside)
	}
	return func(yield func(*layer.Entry) bool) {
		for _, e := range beside[:before] {
			if !yield(e) {
				return
			}
		}
		for e := range w.bulk.table.Drain() {
			if !yield(e) {
				return
			}
		}
		for _, e := range beside[before:] {
			if !yield(e) {
				return
			}
		}
	}
}

// changesInBulk is changes and withParents of a draft with a bulk.
func (w *Draft) changesInBulk(ctx context.Context) (*layer.Encoded, error) {
	t := w.bulk.table.Another()
	var dirs []string // of the layer, in which the next entry may be
	in := func(name string) bool { return len(dirs) > 0 && dirs[len(dirs)-1] == name }
	var lead func(dir string) error // adds a directory that is below only
	lead = func(dir string) error {
		if dir == "" || in(dir) {
			return nil
		}
		if err := lead(layer.Parent(dir)); err != nil {
			return err
		}
		e, err := w.below.Lookup(ctx, dir)
		if err != nil {
			return err
		}
		d := *e
		d.Opaque, d.Offset = false, 0
		dirs = append(dirs, dir)
		return t.Append(&d)
	}
	err := layer.EachChanged(ctx, w.drain(), w.below, w.sum, func(e *layer.Entry) error {
		for len(dirs) > 0 && !layer.Within(e.Path, dirs[len(dirs)-1]) {
			dirs = dirs[:len(dirs)-1]
		}
		if err := lead(layer.Parent(e.Path)); err != nil {
			return err
		}
		if e.Type == layer.Dir {
			dirs = append(dirs, e.Path)
		}
		return t.Append(e)
	})
	return t, errors.Join(err, w.bulk.table.Err())
}
