package adopt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/strata-build/strata/internal/layer"
)

// CompareEmpty says why a row cannot be that of a COPY, ADD or WORKDIR that makes these entries, as
// far as the layer need not be read for it. decided says that it need not be read at all.
func (r *Row) CompareEmpty(made *layer.TOC) (reason string, decided bool) {
	switch {
	case len(made.Entries) == 0 && r.empty():
		return "", true
	case len(made.Entries) == 0:
		return "the step changes nothing here, and its layer of " + r.quote() + " does", true
	case r.empty():
		return r.quote() + " has nothing in its layer: what the step makes may be in a later one", true
	}
	return "", false
}

// CompareLayers says what is different about the layer there from the one that would be made; "" if nothing is. Beside
// what is made, a layer may hold the directories on the way, as they are below. What is made may be missing if it
// is below already.
func CompareLayers(ctx context.Context, made, there *layer.TOC, below layer.Tree) (string, error) {
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
			if want, err = below.Lookup(ctx, e.Path); err != nil {
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
		old, err := below.Lookup(ctx, e.Path)
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
	differ := layer.Differences(a, b)
	switch a.Type {
	case layer.Symlink: // its mode has no meaning
		differ &^= layer.AttrMode
	case layer.Hardlink: // they are those of the file
		differ &^= layer.AttrMode | layer.AttrOwner
	}
	switch {
	case differ.Has(layer.AttrType):
		return "the type"
	case differ.Has(layer.AttrMode):
		return fmt.Sprintf("the mode (%04o and %04o)", a.Mode, b.Mode)
	case differ.Has(layer.AttrOwner):
		return fmt.Sprintf("the owner (%d:%d and %d:%d)", a.UID, a.GID, b.UID, b.GID)
	case a.Type == layer.File && (differ.Has(layer.AttrContent) || a.Digest == ""):
		return "the content"
	case differ.Has(layer.AttrLink):
		return "the target"
	case differ.Has(layer.AttrContent):
		return "the device"
	case differ.Has(layer.AttrXattrs):
		return "an extended attribute"
	}
	return ""
}
