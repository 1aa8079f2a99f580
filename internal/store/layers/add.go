package layers

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store/content"
	"github.com/strata-build/strata/internal/store/db"
	"github.com/strata-build/strata/internal/store/disk"
	"github.com/strata-build/strata/internal/store/seal"
)

// AddLayer takes the layer in dir, a folder that Temp made, into the store. It holds the layer's tree as
// "fs", or its uncompressed tar as "tar", or as what AddMade takes. If the store has the layer already, dir is dropped.
func (ls *Layers) AddLayer(diffID digest.Digest, t layer.Table, dir string) (*Layer, error) {
	if err := diffID.Validate(); err != nil {
		return nil, fmt.Errorf("adding a layer: %w", err)
	}
	l := &Layer{DiffID: diffID, ContentID: t.ContentID(), Size: t.Size(), layers: ls}
	l.Disk = diskOf(dir, t)
	if err := t.Err(); err != nil {
		return nil, fmt.Errorf("adding layer %s to the store: %w", diffID, ls.session.Explain(err))
	}
	if again, err := ls.addAgain(l, dir); again || err != nil {
		return l, err
	}
	err := disk.WriteTOC(filepath.Join(dir, "toc"), t)
	if err == nil {
		err = os.Chmod(dir, 0o700)
	}
	seals := ls.sealForms(dir, diffID)
	if err == nil {
		err = seals.Write(filepath.Join(dir, sealFile))
	}
	if err == nil {
		err = ls.session.MarkUnsynced(ls.Path(diffID))
	}
	if err == nil {
		err = ls.placeLayer(l, dir, seals)
	}
	if err != nil {
		return nil, fmt.Errorf("adding layer %s to the store: %w", diffID, ls.session.Explain(err))
	}
	return l, nil
}

// addAgain drops dir if this process has made or verified the same layer before, as that of all steps that change
// nothing, and the layer is still here: it says so.
func (ls *Layers) addAgain(l *Layer, dir string) (again bool, err error) {
	if !ls.memory.isSound(l.DiffID) {
		return false, nil
	}
	err = ls.db.Tx(func(tx *sql.Tx) error {
		again = disk.Exists(ls.Path(l.DiffID, formTOC)) && (ls.has(l.DiffID, formTree) || ls.has(l.DiffID, formTar))
		if !again {
			return nil
		}
		return ls.putRow(tx, l)
	})
	if err == nil && again {
		err = os.RemoveAll(dir)
	}
	if err != nil {
		return false, fmt.Errorf("adding layer %s to the store: %w", l.DiffID, ls.session.Explain(err))
	}
	return again, nil
}

// placeLayer gives dir its final name and the layer its row, both while nobody else can write to meta.db: a prune
// that is about to remove the same layer either sees that it was used, or has moved the folder out of the way. A
// folder that is there already stays, if it is sound: otherwise nothing could replace a damaged layer.
func (ls *Layers) placeLayer(l *Layer, dir string, seals seal.Seals) error {
	placed, err := ls.place(l, dir)
	if err == nil && !placed {
		var damage *Damage
		damage, err = ls.mend(context.Background(), l.DiffID) // what was made is kept, whoever asks for it
		if err == nil && damage != nil {
			placed, err = ls.place(l, dir)
		}
	}
	if err != nil {
		return err
	}
	ls.memory.setSound(l.DiffID)
	if !placed {
		return os.RemoveAll(dir) // a form is sound
	}
	ls.trustAll(l.DiffID, seals)
	return nil
}

func (ls *Layers) place(l *Layer, dir string) (placed bool, err error) {
	err = ls.db.Tx(func(tx *sql.Tx) error {
		err := ls.baseIsSealed(tx, l.DiffID, dir)
		if err != nil {
			return err
		}
		if placed, err = disk.Place(dir, ls.Path(l.DiffID)); err != nil {
			return err
		}
		return ls.putRow(tx, l)
	})
	return placed, err
}

// putRow notes a layer that is here, or that it was used.
func (ls *Layers) putRow(tx *sql.Tx, l *Layer) error {
	_, err := tx.Exec(`INSERT INTO layers (diff_id, content_id, size, disk, added, used) VALUES (?1, ?2, ?3, ?4, ?5, ?5)
		ON CONFLICT (diff_id) DO UPDATE SET content_id = ?2, size = ?3, disk = max(disk, ?4), used = max(used, ?5)`,
		l.DiffID, l.ContentID, l.Size, l.Disk, db.Now())
	if err != nil {
		return err
	}
	return ls.noteDelta(tx, l.DiffID)
}

// AddKnown notes that there is such a layer, though nothing says where: records that name it count. Whoever needs it
// gets an UnavailableError with ErrNowhere.
func (ls *Layers) AddKnown(diffID digest.Digest) error {
	err := ls.db.Tx(func(tx *sql.Tx) error { return ls.putUnread(tx, diffID) })
	if err != nil {
		return fmt.Errorf("noting layer %s: %w", diffID, err)
	}
	return nil
}

// putUnread notes a layer of which nothing is known but that there is one, or that it was used.
func (ls *Layers) putUnread(tx *sql.Tx, diffID digest.Digest) error {
	_, err := tx.Exec("INSERT INTO layers (diff_id, added, used) VALUES (?1, ?2, ?2) ON CONFLICT (diff_id) DO UPDATE SET used = ?2", diffID, db.Now())
	if err != nil {
		return err
	}
	return ls.noteDelta(tx, diffID) // what is in its folder may have been on the way out
}

// AddRemote notes that a layer is known and where its compressed form can be fetched.
func (ls *Layers) AddRemote(diffID digest.Digest, b content.Blob) error {
	return ls.AddRemotes([]digest.Digest{diffID}, []content.Blob{b})
}

// AddRemotes is AddRemote of several layers at once; blobs are in the order of diffIDs.
func (ls *Layers) AddRemotes(diffIDs []digest.Digest, blobs []content.Blob) error {
	err := ls.db.Tx(func(tx *sql.Tx) error {
		for i, d := range diffIDs {
			err := ls.putUnread(tx, d)
			if err == nil {
				err = content.PutBlob(tx, d, blobs[i])
			}
			if err != nil {
				return fmt.Errorf("layer %s: %w", d, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("noting where layers are: %w", err)
	}
	return nil
}
