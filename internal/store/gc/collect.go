package gc

import (
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store/disk"
	"github.com/strata-build/strata/internal/store/session"
)

// collect removes the layers to which neither a config nor a record leads, and the blobs of layers that
// are no more.
func (c *Collector) collect(cutoff int64, p *Pruned) error {
	kept, err := c.layersOfConfigs("")
	if err != nil {
		return err
	}
	rows, err := c.db.Query("SELECT diff_id FROM layers WHERE used < ? AND NOT EXISTS (SELECT 1 FROM records WHERE layer = diff_id AND layer != '')", cutoff)
	if err != nil {
		return err
	}
	var gone []digest.Digest
	for rows.Next() {
		var d digest.Digest
		if err := rows.Scan(&d); err != nil {
			rows.Close()
			return err
		}
		if !kept[d] {
			gone = append(gone, d)
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	if len(gone) > 0 {
		// What led to the layers goes first: after a power cut, nothing is named whose layers are gone.
		if err := disk.Sync(c.root); err != nil {
			return err
		}
	}
	for _, d := range gone {
		if err := c.removeLayer(d, cutoff, p); err != nil {
			return err
		}
	}
	return c.collectFiles(cutoff, p)
}

func (c *Collector) removeLayer(d digest.Digest, cutoff int64, p *Pruned) error {
	blobs, err := c.content.Blobs(d)
	if err != nil {
		return err
	}
	trash, err := c.session.Trash()
	if err != nil {
		return err
	}
	removed := false
	// The row and the folder's name go together, and only if nobody used the layer since: whoever makes it anew, under
	// the same name, comes before or after (placeLayer).
	err = c.db.Tx(func(tx *sql.Tx) error {
		r, err := tx.Exec(`DELETE FROM layers WHERE diff_id = ?1 AND used < ?2
			AND NOT EXISTS (SELECT 1 FROM records WHERE layer = ?1)`, d, cutoff)
		if err != nil {
			return err
		}
		if n, _ := r.RowsAffected(); n == 0 {
			return nil
		}
		removed = true
		for _, q := range []string{"DELETE FROM blobs WHERE diff_id = ?", "DELETE FROM derived WHERE source = ?1 OR result = ?1"} {
			if _, err := tx.Exec(q, d); err != nil {
				return err
			}
		}
		if err := os.Remove(c.layers.TOCPath(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		err = trash.Take(c.layers.Path(d))
		switch {
		case err == nil:
			p.Layers = append(p.Layers, d)
		case errors.Is(err, fs.ErrNotExist):
			return nil
		}
		return err
	})
	if err == nil && removed {
		for _, b := range blobs {
			if err := p.remove(c.content.BlobPath(b.Digest)); err != nil {
				return err
			}
		}
	}
	return errors.Join(err, p.empty(trash))
}

// collectFiles removes what no row of meta.db names: blobs and layers of processes that were killed, and
// partial downloads.
func (c *Collector) collectFiles(cutoff int64, p *Pruned) error {
	layers, tocs := c.layers.Folders()
	for _, kind := range []struct{ dir, query string }{
		{c.content.Folder(), "SELECT count(*) FROM blobs WHERE digest = ?"},
		{layers, "SELECT count(*) FROM layers WHERE diff_id = ?"},
		{tocs, "SELECT count(*) FROM layers WHERE diff_id = ?"},
	} {
		err := eachEntry(kind.dir, cutoff, func(path string) error {
			var n int
			if err := c.db.QueryRow(kind.query, "sha256:"+filepath.Base(path)).Scan(&n); err != nil || n > 0 {
				return err
			}
			return c.removeUnnamed(path, kind.query, p)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// removeUnnamed removes a blob or layer unless it has got a row meanwhile.
func (c *Collector) removeUnnamed(path, query string, p *Pruned) error {
	trash, err := c.session.Trash()
	if err != nil {
		return err
	}
	err = c.db.Tx(func(tx *sql.Tx) error {
		var n int
		if err := tx.QueryRow(query, "sha256:"+filepath.Base(path)).Scan(&n); err != nil || n > 0 {
			return err
		}
		return trash.Take(path)
	})
	return errors.Join(err, p.empty(trash))
}

// eachEntry calls f for what is in dir since before cutoff.
func eachEntry(dir string, cutoff int64, f func(path string) error) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.ModTime().UnixMilli() >= cutoff {
			continue
		}
		if err := f(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// remove removes a file or folder and counts what it took on the disk.
func (p *Pruned) remove(path string) error {
	freed, err := disk.Remove(path)
	p.Freed += freed
	return err
}

// empty removes what is in a trash and counts what it took on the disk.
func (p *Pruned) empty(t *session.Trash) error {
	freed, err := t.Empty()
	p.Freed += freed
	return err
}
