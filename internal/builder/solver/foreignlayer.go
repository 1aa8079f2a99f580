package solver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/strata-build/strata/internal/layer"
)

// sameLayer says why the layer of a row is not what a COPY, ADD or WORKDIR would make; "" if it is, times
// aside. Nothing is written for that, but the layer is fetched if it is not here.
func (s *Solver) sameLayer(ctx context.Context, parent *State, row *foreignRow, op *operation) (string, error) {
	w, err := op.draft(ctx)
	if err != nil {
		return "", err
	}
	defer w.close()
	made, err := w.contents(ctx)
	if err != nil {
		return "", err
	}
	switch {
	case len(made.Entries) == 0 && row.empty():
		return "", nil
	case len(made.Entries) == 0:
		return "the step changes nothing here, and its layer of " + row.quote() + " does", nil
	case row.empty():
		return row.quote() + " has nothing in its layer: what the step makes may be in a later one", nil
	}
	below, err := s.below(ctx, parent, op.link)
	if err != nil {
		return "", err
	}
	l, err := s.Store.Layer(row.layer)
	if err == nil {
		var there *layer.TOC
		if there, err = l.TOC(ctx); err == nil {
			return compareLayers(made, there, below)
		}
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	return fmt.Sprintf("its layer could not be read: %v", err), nil
}

// contents are the entries that the copier has, with the digests of the files.
func (c *copier) contents(ctx context.Context) (*layer.TOC, error) {
	entries := make([]*layer.Entry, 0, len(c.entries))
	for name, e := range c.entries {
		d := *e
		if d.Type == layer.File && d.Digest == "" {
			from, ok := c.sources[name]
			if !ok {
				return nil, fmt.Errorf("%s has no contents", name)
			}
			if err := from.tree.Sum(ctx, []*layer.Entry{from.entry}); err != nil {
				return nil, err
			}
			d.Digest = from.entry.Digest
		}
		entries = append(entries, &d)
	}
	return layer.NewTOC(entries)
}

// compareLayers says what is different about the layer there from the one that would be made; "" if nothing is. Beside
// what is made, a layer may hold the directories on the way, as they are below. What is made may be missing if it
// is below already.
func compareLayers(made, there *layer.TOC, below layer.Tree) (string, error) {
	onTheWay := map[string]bool{"": true}
	for _, e := range made.Entries {
		for p := layer.Parent(e.Path); !onTheWay[p]; p = layer.Parent(p) {
			onTheWay[p] = true
		}
	}
	for _, e := range there.Entries {
		switch {
		case e.Type == layer.Whiteout:
			return fmt.Sprintf("its layer deletes /%s", e.Path), nil
		case e.Opaque:
			return fmt.Sprintf("its layer replaces the directory /%s", e.Path), nil
		}
		want := made.Lookup(e.Path)
		if want == nil {
			if e.Type != layer.Dir || !onTheWay[e.Path] {
				return fmt.Sprintf("its layer also has /%s", e.Path), nil
			}
			var err error
			if want, err = below.Lookup(e.Path); err != nil {
				return fmt.Sprintf("its layer also has /%s", e.Path), notExist(err)
			}
		}
		if what := difference(want, e); what != "" {
			return fmt.Sprintf("%s of /%s differs", what, e.Path), nil
		}
	}
	for _, e := range made.Entries {
		if there.Lookup(e.Path) != nil {
			continue
		}
		old, err := below.Lookup(e.Path)
		if err != nil || difference(e, old) != "" {
			return fmt.Sprintf("its layer lacks /%s", e.Path), notExist(err)
		}
	}
	return "", nil
}

// notExist drops the error that only says that there is nothing.
func notExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// difference names what two entries of one path differ in, but for the time; "" if they are equal.
func difference(a, b *layer.Entry) string {
	switch {
	case a.Type != b.Type:
		return "the type"
	case a.Mode != b.Mode && a.Type != layer.Symlink && a.Type != layer.Hardlink:
		return fmt.Sprintf("the mode (%04o and %04o)", a.Mode, b.Mode)
	case (a.UID != b.UID || a.GID != b.GID) && a.Type != layer.Hardlink:
		return fmt.Sprintf("the owner (%d:%d and %d:%d)", a.UID, a.GID, b.UID, b.GID)
	case a.Type == layer.File && (a.Size != b.Size || a.Digest == "" || a.Digest != b.Digest):
		return "the content"
	case a.Link != b.Link:
		return "the target"
	case a.Major != b.Major || a.Minor != b.Minor:
		return "the device"
	case !slices.Equal(a.Xattrs, b.Xattrs):
		return "an extended attribute"
	}
	return ""
}
