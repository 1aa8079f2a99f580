package layers

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store/db"
	"github.com/strata-build/strata/internal/store/disk"
)

// TOC returns the layer's table of contents, fetching the layer first if it is not here. Do not change it:
// it is shared.
func (l *Layer) TOC(ctx context.Context) (*layer.TOC, error) {
	if err := l.ensure(ctx); err != nil {
		return nil, err
	}
	t, err := l.readTOC()
	if err == nil {
		return t, nil
	}
	if err := l.heal(ctx, err); err != nil {
		return nil, err
	}
	return l.readTOC()
}

func (l *Layer) readTOC() (*layer.TOC, error) {
	ls := l.layers
	return ls.memory.toc(l.DiffID, func() (*layer.TOC, error) {
		t, err := disk.ReadTOC(ls.Path(l.DiffID, "toc"))
		if err != nil {
			return nil, fmt.Errorf("reading the table of contents of layer %s: %w", l.DiffID, err)
		}
		return t, nil
	})
}

// Tree returns the folder that overlayfs takes as a lower layer, making it from the other forms if need be.
func (l *Layer) Tree(ctx context.Context) (string, error) {
	if err := l.ensure(ctx); err != nil {
		return "", err
	}
	ls := l.layers
	dir := ls.Path(l.DiffID, "fs")
	if l.tree().Here() {
		return dir, nil
	}
	if !l.tar().Here() {
		if err := l.heal(ctx, errors.New("neither its tree nor its tar is here")); err != nil {
			return "", err
		}
	}
	t, err := l.TOC(ctx)
	if err != nil {
		return "", err
	}
	unlock := ls.memory.lock(l.DiffID)
	defer unlock()
	if l.tree().Here() {
		return dir, nil
	}
	tmp, err := ls.session.Temp("tree")
	if err != nil {
		return "", err
	}
	f, err := os.Open(ls.Path(l.DiffID, "tar"))
	if err != nil {
		return "", fmt.Errorf("laying out layer %s: %w", l.DiffID, err)
	}
	defer f.Close()
	out := filepath.Join(tmp, "fs")
	if err := os.Mkdir(out, 0o755); err != nil {
		return "", fmt.Errorf("laying out layer %s: %w", l.DiffID, err)
	}
	if err := layer.Extract(ctx, t, f, out, layer.ExtractOptions{}); err != nil {
		return "", fmt.Errorf("laying out layer %s: %w", l.DiffID, ls.session.Explain(err))
	}
	err = ls.session.MarkUnsynced(dir)
	if err == nil {
		err = ls.placeTree(l, out, 2*disk.Estimate(t)) // both forms
	}
	if err != nil {
		return "", fmt.Errorf("laying out layer %s: %w", l.DiffID, err)
	}
	return dir, os.RemoveAll(tmp)
}

// placeTree gives the tree in dir its final name, and notes what the layer takes on the disk with it, both
// while nobody removes the layer.
func (ls *Layers) placeTree(l *Layer, dir string, size int64) error {
	return ls.db.Tx(func(tx *sql.Tx) error {
		if _, err := tx.Exec("UPDATE layers SET disk = ?, used = max(used, ?) WHERE diff_id = ?", size, db.Now(), l.DiffID); err != nil {
			return err
		}
		_, err := disk.Place(dir, ls.Path(l.DiffID, "fs"))
		return err
	})
}

// WriteTar writes the layer's uncompressed tar, whose sha256 is the diffID, which it checks while it writes.
// A layer that came compressed is decompressed again, since its tar need not be the canonical one.
func (l *Layer) WriteTar(ctx context.Context, w io.Writer) error {
	if err := l.ensure(ctx); err != nil {
		return err
	}
	verifier := l.DiffID.Verifier()
	w = io.MultiWriter(w, verifier)
	err := l.writeTar(ctx, w)
	if err == nil && !verifier.Verified() {
		err = fmt.Errorf("its files in %s were changed by somebody else", l.layers.Path(l.DiffID))
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("reading layer %s: %w", l.DiffID, l.unreadable(ctx, err))
}

// unreadable is what a person is told of a layer of which bytes were written that turned out to be wrong. It is set
// aside, if it is damaged.
func (l *Layer) unreadable(ctx context.Context, cause error) error {
	unlock := l.layers.memory.lock(l.DiffID) // a good copy that another goroutine makes meanwhile stays
	defer unlock()
	damage, err := l.layers.Verify(ctx, l.DiffID)
	if damage == nil || err != nil {
		return cause
	}
	if err := l.layers.SetAside(ctx, damage); err != nil {
		return errors.Join(cause, err)
	}
	if l.Present() {
		return fmt.Errorf("%w; what was damaged is set aside: try again", cause)
	}
	return fmt.Errorf("%w; it is set aside: build the image again, or pull it", cause)
}

func (l *Layer) writeTar(ctx context.Context, w io.Writer) error {
	r, err := l.openHere(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, 1<<20))
	return err
}
