package layers

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store/disk"
	"github.com/strata-build/strata/internal/store/session"
)

// heal verifies a layer that turned out to be damaged, sets aside what is wrong with it, and brings the layer here
// again from where it can be had: another form, a repository. A *UnavailableError says that only the step that made it
// can make it again. cause is what turned out, and the error if the layer is sound.
func (l *Layer) heal(ctx context.Context, cause error) error {
	ls := l.layers
	if !l.Present() { // set aside just now
		return l.ensure(ctx)
	}
	unlock := ls.memory.lock(l.DiffID)
	damage, err := ls.mend(ctx, l.DiffID)
	unlock()
	if err != nil {
		return err
	}
	if damage == nil { // another was faster
		if _, err := disk.ReadTOC(ls.Path(l.DiffID, formTOC)); err != nil {
			return cause
		}
	}
	ls.memory.forget(l.DiffID)
	return l.ensure(ctx)
}

// Sound verifies a layer, as far as it is here, and sets aside what is damaged. It says whether the layer can be
// relied on afterwards.
func (l *Layer) Sound(ctx context.Context) (bool, error) {
	if !l.Present() {
		return true, nil
	}
	unlock := l.layers.memory.lock(l.DiffID)
	defer unlock()
	damage, err := l.layers.mend(ctx, l.DiffID)
	return err == nil && (damage == nil || !damage.Whole), err
}

// setAsideDamaged verifies a layer and sets aside what is damaged; nil if nothing is. A person is told at the end,
// since it turned out while something else was done.
func (ls *Layers) setAsideDamaged(ctx context.Context, diffID digest.Digest) (*Damage, error) {
	damage, err := ls.Verify(ctx, diffID)
	if damage == nil || err != nil {
		return nil, err
	}
	ls.session.Note(fmt.Sprintf("layer %s was damaged and is set aside: %v", image.ShortID(diffID), damage.Cause))
	return damage, ls.SetAside(ctx, damage)
}

// SetAside takes what is damaged out of the store, so that it is made again when it is needed. What another goroutine
// or process has made again since it was verified stays. A table of contents is made again at once, of the tar. A layer
// that cannot be had anywhere else is known no more, and the records that lead to it are no hits.
func (ls *Layers) SetAside(ctx context.Context, d *Damage) error {
	trash, err := ls.session.Trash()
	if err != nil {
		return err
	}
	forms := d.Forms
	if d.Whole {
		forms = []string{""}
	}
	for _, form := range forms {
		if form == formTOC {
			err = errors.Join(err, ls.remakeTOC(ctx, d.DiffID))
			continue
		}
		err = errors.Join(err, ls.take(d, form, trash))
	}
	ls.memory.forget(d.DiffID)
	if err = errors.Join(err, trash.Close()); err == nil && (d.Whole || slices.Contains(d.Forms, formTar)) {
		err = ls.setAsideDeltas(ctx, d.DiffID)
	}
	return err
}

// take takes a form of a layer, or all of it, while nobody else gives a name to one.
func (ls *Layers) take(d *Damage, form string, trash *session.Trash) error {
	err := ls.db.Tx(func(tx *sql.Tx) error {
		if ls.replaced(d, form) {
			return nil
		}
		if form == formTar {
			return ls.takeTar(tx, d.DiffID, trash)
		}
		err := trash.Take(ls.Path(d.DiffID, form))
		if err == nil && form == "" {
			_, err = ls.ForgetMissing(tx, d.DiffID)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("setting aside layer %s: %w", d.DiffID, err)
	}
	return nil
}

// takeTar takes the tar of a layer whose other forms stay.
func (ls *Layers) takeTar(tx *sql.Tx, diffID digest.Digest, trash *session.Trash) error {
	for _, name := range []string{formTar, deltaOf, DeltaFile} {
		if path := ls.Path(diffID, name); disk.Exists(path) {
			if err := trash.Take(path); err != nil {
				return err
			}
		}
	}
	return forgetDelta(tx, diffID)
}

// forget notes that a layer is not here, unless it is. One that can be had nowhere else is known no more.
func (ls *Layers) forget(diffID digest.Digest) error {
	err := ls.db.Tx(func(tx *sql.Tx) error {
		_, err := ls.ForgetMissing(tx, diffID)
		return err
	})
	if err != nil {
		return fmt.Errorf("noting that layer %s is gone: %w", diffID, err)
	}
	return nil
}

// ForgetMissing drops, as a part of a transaction, what is known of a layer that is not here and of which no blob is
// known. gone says that the layer was here, as far as its row tells.
func (ls *Layers) ForgetMissing(tx *sql.Tx, diffID digest.Digest) (gone bool, err error) {
	if _, err := os.Lstat(ls.Path(diffID, formTOC)); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	was, err := tx.Exec("UPDATE layers SET disk = 0 WHERE diff_id = ? AND disk > 0", diffID)
	if err != nil {
		return false, err
	}
	n, err := was.RowsAffected()
	if err == nil {
		err = forgetDelta(tx, diffID)
	}
	if err != nil {
		return false, err
	}
	dropped, err := tx.Exec("DELETE FROM layers WHERE diff_id = ?1 AND NOT EXISTS (SELECT 1 FROM blobs WHERE blobs.diff_id = ?1)", diffID)
	if err != nil {
		return false, err
	}
	if d, err := dropped.RowsAffected(); d == 0 || err != nil {
		return n > 0, err
	}
	_, err = tx.Exec("DELETE FROM derived WHERE source = ?1 OR result = ?1", diffID)
	return n > 0, err
}

func (ls *Layers) remakeTOC(ctx context.Context, diffID digest.Digest) error {
	t, err := ls.scanTar(ctx, diffID)
	if err != nil {
		return err
	}
	return ls.writeTOC(t, ls.Path(diffID), ls.Path(diffID, formTOC))
}
