package gc

import (
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store/content"
	"github.com/strata-build/strata/internal/store/db"
	"github.com/strata-build/strata/internal/store/disk"
	"github.com/strata-build/strata/internal/store/layers"
	"github.com/strata-build/strata/internal/store/session"
)

// unused is a layer to which nothing leads any more.
type unused struct {
	diffID    digest.Digest
	blobs     []digest.Digest
	contentID digest.Digest // what else its row had
	size      int64
	disk      int64
	added     int64
	used      int64
}

// collect removes the layers to which neither a config nor a record leads, and the blobs of layers that
// are no more: first the rows, in the transaction in which that is decided, then, when that is on the
// disk, the files.
func (c *Collector) collect(cutoff int64, p *Pruned) error {
	var gone []unused
	err := c.db.Tx(func(tx *sql.Tx) (err error) {
		gone, err = dropLayers(tx, cutoff)
		return err
	})
	if err != nil {
		return err
	}
	if len(gone) > 0 {
		// After a power cut, nothing may lead to layers whose files are gone.
		if err := disk.Sync(c.root); err != nil {
			return err
		}
	}
	for _, l := range gone {
		if err := c.removeFiles(l, p); err != nil {
			return err
		}
	}
	return c.collectFiles(cutoff, p)
}

// dropLayers drops the rows of layers that nobody used since cutoff and to which nothing leads: no config, no record,
// no layer whose tar is a delta of it.
func dropLayers(tx *sql.Tx, cutoff int64) ([]unused, error) {
	// An older strata drops layers without this.
	if _, err := tx.Exec("DELETE FROM deltas WHERE layer NOT IN (SELECT diff_id FROM layers)"); err != nil {
		return nil, err
	}
	var kept map[digest.Digest]bool
	for all := []unused(nil); ; {
		old, err := db.Column[digest.Digest](tx.Query(`SELECT diff_id FROM layers WHERE used < ?
			AND NOT EXISTS (SELECT 1 FROM records WHERE layer = diff_id AND layer != '')
			AND NOT EXISTS (SELECT 1 FROM deltas WHERE base = diff_id)`, cutoff))
		if len(old) == 0 || err != nil {
			return all, err
		}
		if kept == nil {
			if kept, err = layersOfConfigs(tx); err != nil {
				return nil, err
			}
		}
		gone, err := dropUnkept(tx, old, kept)
		if len(gone) == 0 || err != nil {
			return all, err
		}
		all = append(all, gone...) // and now what only deltas among them led to
	}
}

// dropUnkept drops the rows of layers, but of those that are kept.
func dropUnkept(tx *sql.Tx, old []digest.Digest, kept map[digest.Digest]bool) ([]unused, error) {
	var gone []unused
	var err error
	for _, d := range old {
		if kept[d] {
			continue
		}
		l := unused{diffID: d}
		if l.blobs, err = db.Column[digest.Digest](tx.Query("DELETE FROM blobs WHERE diff_id = ? RETURNING digest", d)); err != nil {
			return nil, err
		}
		err := tx.QueryRow("DELETE FROM layers WHERE diff_id = ? RETURNING content_id, size, disk, added, used", d).
			Scan(&l.contentID, &l.size, &l.disk, &l.added, &l.used)
		if err != nil {
			return nil, err
		}
		for _, q := range []string{"DELETE FROM derived WHERE source = ?1 OR result = ?1", "DELETE FROM deltas WHERE layer = ?"} {
			if _, err := tx.Exec(q, d); err != nil {
				return nil, err
			}
		}
		gone = append(gone, l)
	}
	return gone, nil
}

// removeFiles removes the files of a layer whose rows are gone, unless it has got some again: whoever makes the
// layer anew does that in a transaction that comes before this one or after it (placeLayer).
func (c *Collector) removeFiles(l unused, p *Pruned) error {
	trash, err := c.session.Trash()
	if err != nil {
		return err
	}
	err = c.db.Tx(func(tx *sql.Tx) error {
		back, err := exists(tx, "SELECT 1 FROM layers WHERE diff_id = ?", l.diffID)
		if err == nil && !back {
			back, err = l.restore(tx)
		}
		if err == nil && !back {
			err = c.takeLayer(l.diffID, trash, p)
		}
		for _, b := range l.blobs {
			if err != nil {
				return err
			}
			if back, err = exists(tx, "SELECT 1 FROM blobs WHERE digest = ? AND repository = ''", b); err == nil && !back {
				err = trash.Take(c.content.BlobPath(b))
			}
		}
		return err
	})
	return errors.Join(err, p.empty(trash))
}

// restore puts the row of a layer back that a delta needs which has come back.
func (l *unused) restore(tx *sql.Tx) (needed bool, err error) {
	if needed, err = exists(tx, "SELECT 1 FROM deltas WHERE base = ?", l.diffID); !needed || err != nil {
		return false, err
	}
	_, err = tx.Exec("INSERT INTO layers (diff_id, content_id, size, disk, added, used) VALUES (?, ?, ?, ?, ?, ?)",
		l.diffID, l.contentID, l.size, l.disk, l.added, l.used)
	return true, err
}

func (c *Collector) takeLayer(d digest.Digest, trash *session.Trash, p *Pruned) error {
	for _, path := range []string{c.layers.TOCPath(d), c.layers.TOCPath(d) + layers.TOCSeal} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if lazy := c.layers.LazyPath(d); disk.Exists(lazy) {
		if err := trash.Take(lazy); err != nil {
			return err
		}
	}
	if disk.Exists(c.layers.Path(d)) {
		p.Layers = append(p.Layers, d)
	}
	return trash.Take(c.layers.Path(d))
}

func exists(tx *sql.Tx, query string, d digest.Digest) (bool, error) {
	found, err := db.Column[int](tx.Query(query, d))
	return len(found) > 0, err
}

// collectFiles removes what no row of meta.db names: blobs and layers of processes that were killed, and
// partial downloads.
func (c *Collector) collectFiles(cutoff int64, p *Pruned) error {
	folder, tocs := c.layers.Folders()
	for _, kind := range []struct{ dir, query string }{
		{c.content.Folder(), "SELECT count(*) FROM blobs WHERE digest = ?"},
		{folder, "SELECT (SELECT count(*) FROM layers WHERE diff_id = ?1) + (SELECT count(*) FROM deltas WHERE base = ?1)"},
		{tocs, "SELECT count(*) FROM layers WHERE diff_id = ?"},
		{c.layers.LazyFolder(), "SELECT count(*) FROM layers WHERE diff_id = ?"},
	} {
		err := eachEntry(kind.dir, cutoff, func(path string) error {
			var n int
			if err := c.db.QueryRow(kind.query, namedBy(path)).Scan(&n); err != nil || n > 0 {
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

// namedBy is the digest of what a file belongs to.
func namedBy(path string) string {
	return "sha256:" + strings.TrimSuffix(filepath.Base(path), layers.TOCSeal)
}

// removeUnnamed removes a blob or layer unless it has got a row meanwhile, or is a download that somebody goes on with.
func (c *Collector) removeUnnamed(path, query string, p *Pruned) error {
	if content.IsPartial(filepath.Base(path)) {
		lock, err := disk.TakeNamedLock(path)
		if lock == nil || err != nil {
			return err
		}
		defer lock.Close()
	}
	trash, err := c.session.Trash()
	if err != nil {
		return err
	}
	err = c.db.Tx(func(tx *sql.Tx) error {
		var n int
		if err := tx.QueryRow(query, namedBy(path)).Scan(&n); err != nil || n > 0 {
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

// empty removes what is in a trash and counts what it took on the disk.
func (p *Pruned) empty(t *session.Trash) error {
	freed, err := t.Empty()
	p.Freed += freed
	return err
}
