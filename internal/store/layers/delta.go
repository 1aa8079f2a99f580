package layers

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store/db"
	"github.com/strata-build/strata/internal/store/disk"
	"github.com/strata-build/strata/internal/store/seal"
)

// The tar of a layer that differs in little from the one that the same COPY made before is kept as a delta: "delta" in
// the layer's folder has the bytes that the base, that other layer's "tar", does not have, and "delta-of" says which
// bytes are where (layer.TarDelta). The base is a tar of its own, so nothing is ever read through more than one delta.
// It stays as long as a delta of it is here: the table deltas says so. To everybody but this package, it is a tar.

const (
	// DeltaFile is the name, in the folder of a layer that AddMade takes, of what its tar has that the base has not.
	DeltaFile = "delta"
	deltaOf   = "delta-of"
)

// tarPath is the file that says that the layer's tar is here: the tar, or which bytes of it are where.
func (ls *Layers) tarPath(diffID digest.Digest) string { return tarPathIn(ls.Path(diffID)) }

func tarPathIn(dir string) string {
	if of := filepath.Join(dir, deltaOf); disk.Exists(of) {
		return of
	}
	return filepath.Join(dir, formTar)
}

// formPath is where a form of a layer is, if it is here; the layer's folder for "".
func (ls *Layers) formPath(diffID digest.Digest, form string) string {
	if form == formTar {
		return ls.tarPath(diffID)
	}
	return ls.Path(diffID, form)
}

// has says whether a form of a layer is here. The tar is not where the base of its delta is gone.
func (ls *Layers) has(diffID digest.Digest, form string) bool {
	if form == formTar {
		if d, err := ls.delta(diffID); err != nil {
			return true // and damaged
		} else if d != nil {
			diffID = d.Base
		}
	}
	return disk.Exists(ls.Path(diffID, form))
}

// delta is what a layer's tar has in common with its base; nil of a tar that is one file.
func (ls *Layers) delta(diffID digest.Digest) (*layer.TarDelta, error) {
	return deltaIn(ls.Path(diffID), diffID)
}

func deltaIn(dir string, diffID digest.Digest) (*layer.TarDelta, error) {
	data, err := os.ReadFile(filepath.Join(dir, deltaOf))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return layer.DecodeTarDelta(data, diffID)
}

// openTar opens a layer's tar.
func (ls *Layers) openTar(diffID digest.Digest) (*layer.TarFile, error) {
	d, err := ls.delta(diffID)
	if err != nil {
		return nil, err
	}
	if d == nil {
		return layer.OpenTar(ls.Path(diffID, formTar))
	}
	return layer.OpenTarDelta(d, ls.Path(diffID, DeltaFile), ls.Path(d.Base, formTar))
}

// sealOfDelta is the seal of the tar of a layer in dir that is a delta: of both its files, and of the base.
func (ls *Layers) sealOfDelta(dir string, diffID digest.Digest) (seal.Sum, error) {
	d, err := deltaIn(dir, diffID)
	if err != nil {
		return "", err
	}
	of, err := seal.OfContents(filepath.Join(dir, deltaOf), string(diffID)+" "+deltaOf)
	if err != nil {
		return "", err
	}
	own, err := seal.Of(filepath.Join(dir, DeltaFile), string(diffID)+" "+DeltaFile)
	if err != nil {
		return "", err
	}
	base, err := ls.sealOf(ls.Path(d.Base), d.Base, formTar)
	if err != nil {
		return "", err
	}
	if seal.Read(ls.Path(d.Base, sealFile))[formTar] != base {
		return "", fmt.Errorf("layer %s is not as it was sealed", d.Base) // else this seal would vouch for it
	}
	return seal.All(of, own, base), nil
}

// baseIsSealed sees, as a part of the transaction in which the layer in dir gets its place, whether the base is here
// and sealed that it may be a delta of; layer.ErrEarlier if not.
func (ls *Layers) baseIsSealed(tx *sql.Tx, diffID digest.Digest, dir string) error {
	d, err := deltaIn(dir, diffID)
	if d == nil || err != nil {
		return err
	}
	var known bool
	if err := tx.QueryRow("SELECT count(*) > 0 FROM layers WHERE diff_id = ?", d.Base).Scan(&known); err != nil {
		return err
	}
	if _, err := ls.sealOfDelta(dir, diffID); err != nil || !known {
		return errors.Join(layer.ErrEarlier, err)
	}
	return nil
}

// noteDelta notes, as a part of the transaction that puts a layer's row, of which layer its tar is a delta, if it is
// one.
func (ls *Layers) noteDelta(tx *sql.Tx, diffID digest.Digest) error {
	d, err := ls.delta(diffID)
	if d == nil || err != nil { // none, or a damaged one
		return forgetDelta(tx, diffID)
	}
	_, err = tx.Exec("INSERT OR REPLACE INTO deltas (layer, base) VALUES (?, ?)", diffID, d.Base)
	return err
}

// forgetDelta notes that the layer's tar is none any more, or that the layer is gone.
func forgetDelta(tx *sql.Tx, diffID digest.Digest) error {
	_, err := tx.Exec("DELETE FROM deltas WHERE layer = ?", diffID)
	return err
}

// useBase notes that somebody makes a delta of a layer, which must not be removed meanwhile.
func (ls *Layers) useBase(diffID digest.Digest) error {
	result, err := ls.db.Exec("UPDATE layers SET used = max(used, ?) WHERE diff_id = ?", db.Now(), diffID)
	var n int64
	if err == nil {
		n, err = result.RowsAffected()
	}
	if err == nil && n == 0 {
		err = db.ErrNotFound // a prune is about to remove it
	}
	if err != nil {
		return fmt.Errorf("noting that layer %s is used: %w", diffID, err)
	}
	return nil
}

// setAsideDeltas sets aside the tars that are deltas of one that was.
func (ls *Layers) setAsideDeltas(ctx context.Context, base digest.Digest) error {
	deltas, err := db.Column[digest.Digest](ls.db.Query("SELECT layer FROM deltas WHERE base = ?", base))
	if err != nil {
		return fmt.Errorf("looking up what is made of layer %s: %w", base, err)
	}
	for _, diffID := range deltas {
		if diffID == base || ls.has(diffID, formTar) || !disk.Exists(ls.Path(diffID)) {
			continue
		}
		d := ls.newDamage(diffID)
		d.add(formTar, fmt.Errorf("layer %s, which it is a delta of, is set aside", base))
		d.Whole = !ls.has(diffID, formTree)
		if err := ls.SetAside(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// diskOf is about what the layer in dir takes on the disk in bytes, of which t is the table of contents.
func diskOf(dir string, t layer.Table) int64 {
	st, err := os.Stat(filepath.Join(dir, DeltaFile))
	if err != nil {
		return disk.Estimate(t)
	}
	return disk.Estimate(&layer.TOC{}) + (st.Size()+4095)&^4095
}
