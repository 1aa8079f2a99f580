// Package copier makes the layers of COPY, ADD and WORKDIR. It takes what the sources selected and
// the merged state below; it gives a Draft: the entries that the layer will have, which can be
// compared with another layer, or written as one. Nothing is mounted: what is there already is
// known from the tables of contents of the layers below.
package copier

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/source/remote"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/selection"
	"github.com/strata-build/strata/internal/store"
)

// Copier makes drafts. It can be used by several goroutines.
type Copier struct {
	store *store.Store    // of temporary files
	fetch *remote.Fetcher // of the remote sources of an ADD
	rules dialect.Copy
}

// New returns a copier that follows a dialect's rules. fetch may be nil where no ADD has a remote source.
func New(s *store.Store, fetch *remote.Fetcher, rules dialect.Copy) *Copier {
	return &Copier{s, fetch, rules}
}

// Selection is what the sources of a COPY or ADD selected.
type Selection struct {
	Tree    layer.Tree
	Matches []selection.Match // of Tree
	Counts  []int             // how many of the matches are of each source
	// Remote are the remote sources, at their places among all sources; nil if there are none.
	Remote []*Remote
	// Context says that Tree is a context, whose extended attributes are the host's affair.
	Context bool
}

// Copy makes the draft of a COPY or ADD on the state below. The caller closes it.
func (k *Copier) Copy(ctx context.Context, below layer.Tree, c *dockerfile.Copy, sel *Selection) (*Draft, error) {
	mode, err := parseChmod(c.Chmod)
	if err != nil {
		return nil, err
	}
	o, err := k.copyOwner(ctx, below, c)
	if err != nil {
		return nil, err
	}
	w := newDraft(below, o)
	w.mode, w.noXattrs = mode, sel.Context
	if k.store != nil {
		w.spill = k.tempFile
	}
	err = k.copySources(ctx, w, sel, c)
	if err == nil {
		err = k.copyInline(ctx, w, c)
	}
	if err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// tempFile opens a file without a name.
func (k *Copier) tempFile() (*os.File, error) {
	dir, err := k.store.Temp("table")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	return layer.TempFile(dir)()
}

// MakeDir makes the draft of a WORKDIR: a directory with its parents, made where they are missing.
// user owns them, as USER names one; "" is root. One that the image does not know is no error: a USER may name one
// that only the container's machine knows.
func MakeDir(ctx context.Context, below layer.Tree, dir, user string) (*Draft, error) {
	o, err := lookupOwner(ctx, below, user)
	if unknown := (unknownError{}); err != nil && !errors.As(err, &unknown) {
		return nil, err
	}
	w := newDraft(below, o)
	target, err := w.resolve(ctx, strings.Trim(dir, "/"))
	if err != nil {
		return nil, err
	}
	return w, w.makeDirs(ctx, target, 0o755)
}

// copySources copies what the sources selected, in their order.
func (k *Copier) copySources(ctx context.Context, w *Draft, sel *Selection, c *dockerfile.Copy) error {
	rest := sel.Matches
	for i, n := range sel.Counts {
		if sel.Remote != nil && sel.Remote[i] != nil {
			if err := k.copyRemote(ctx, w, sel.Remote[i], c); err != nil {
				return err
			}
		}
		for _, m := range rest[:n] {
			if err := k.copyMatch(ctx, w, sel.Tree, m, c); err != nil {
				return err
			}
		}
		rest = rest[n:]
	}
	return nil
}

// copyMatch copies one of the things that the sources selected.
func (k *Copier) copyMatch(ctx context.Context, w *Draft, t layer.Tree, m selection.Match, c *dockerfile.Copy) error {
	if err := w.loosen(); err != nil {
		return err
	}
	dest, err := w.resolve(ctx, c.Dest)
	if err != nil {
		return err
	}
	if c.Unpack && !m.Dir {
		archive, err := k.openArchive(ctx, t, m.Entry)
		if err != nil {
			return err
		}
		if archive != nil {
			w.cleanup = append(w.cleanup, func() { os.RemoveAll(archive.dir) }) // it is read until the layer is written
			if k.rules.RootOwnsParents {
				defer func(o *owner) { w.owner = o }(w.owner)
				w.owner = nil
			}
			return w.unpack(ctx, archive, dest)
		}
	}
	if m.Dir {
		if k.rules.RootOwnsParents {
			err = w.makeParents(ctx, layer.Parent(dest))
		}
		if err == nil {
			err = w.makeDirs(ctx, dest, 0o755)
		}
		if err != nil {
			return err
		}
		if err := w.setTime(ctx, dest, m.Entry.ModTime); err != nil {
			return err
		}
		return w.putItems(ctx, t, m.Items, dest)
	}
	there, err := w.lookup(ctx, dest)
	if err != nil {
		return err
	}
	if c.DestDir || there != nil && there.Type == layer.Dir {
		dest = path.Join(dest, m.Name)
	} else if w.entries[dest] != nil {
		return fmt.Errorf("several files are copied to /%s, which is no directory: only the last, %s, would stay; end the destination with a / (Dockerfile reference, COPY)",
			dest, m.Name)
	}
	if err := w.makeDirs(ctx, layer.Parent(dest), 0o755); err != nil {
		return err
	}
	return w.put(ctx, t, m.Entry, dest)
}

func (w *Draft) putItems(ctx context.Context, t layer.Tree, items selection.Items, dest string) error {
	w.startBulk(t, dest)
	err := items(ctx, func(it *selection.Item) error {
		if w.bulk != nil && !w.bulk.fits(it) {
			if err := w.loosen(); err != nil {
				return err
			}
		}
		target := path.Join(dest, it.Target)
		if it.OnTheWay {
			return w.passThrough(ctx, t, it.Entry, target)
		}
		err := w.put(ctx, t, it.Entry, target)
		if err == nil && it.Link != "" {
			w.link(target, path.Join(dest, it.Link))
		}
		return err
	})
	if w.bulk != nil {
		w.bulk.open = false
	}
	return err
}
