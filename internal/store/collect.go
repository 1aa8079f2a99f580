package store

import (
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// collect removes the layers to which neither a config nor a record leads, and the blobs of layers that
// are no more.
func (s *Store) collect(cutoff int64, p *Pruned) error {
	kept, err := s.layersOfConfigs("")
	if err != nil {
		return err
	}
	rows, err := s.db.Query("SELECT diff_id FROM layers WHERE used < ? AND NOT EXISTS (SELECT 1 FROM records WHERE layer = diff_id AND layer != '')", cutoff)
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
	for _, d := range gone {
		if err := s.removeLayer(d, cutoff, p); err != nil {
			return err
		}
	}
	return s.collectFiles(cutoff, p)
}

func (s *Store) removeLayer(d digest.Digest, cutoff int64, p *Pruned) error {
	blobs, err := s.Blobs(d)
	if err != nil {
		return err
	}
	tmp, err := s.Temp("gone")
	if err != nil {
		return err
	}
	taken := false
	// The row and the folder's name go together, and only if nobody used the layer since: whoever makes it anew, under
	// the same name, comes before or after (placeLayer).
	err = s.inTx(func(tx *sql.Tx) error {
		r, err := tx.Exec(`DELETE FROM layers WHERE diff_id = ?1 AND used < ?2
			AND NOT EXISTS (SELECT 1 FROM records WHERE layer = ?1)`, d, cutoff)
		if err != nil {
			return err
		}
		if n, _ := r.RowsAffected(); n == 0 {
			return nil
		}
		taken = true
		for _, q := range []string{"DELETE FROM blobs WHERE diff_id = ?", "DELETE FROM derived WHERE source = ?1 OR result = ?1"} {
			if _, err := tx.Exec(q, d); err != nil {
				return err
			}
		}
		if err := os.Remove(s.tocPath(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		err = os.Rename(s.layerPath(d), filepath.Join(tmp, "it"))
		switch {
		case err == nil:
			p.Layers = append(p.Layers, d)
		case errors.Is(err, fs.ErrNotExist):
			return nil
		}
		return err
	})
	if err == nil && taken {
		for _, b := range blobs {
			if err := s.removeAll(s.blobPath(b.Digest), p); err != nil {
				return err
			}
		}
	}
	return errors.Join(err, s.removeAll(filepath.Join(tmp, "it"), p), os.Remove(tmp))
}

// collectFiles removes what no row of meta.db names: blobs and layers of processes that were killed, and
// partial downloads.
func (s *Store) collectFiles(cutoff int64, p *Pruned) error {
	for _, kind := range []struct{ dir, query string }{
		{s.path("blobs", "sha256"), "SELECT count(*) FROM blobs WHERE digest = ?"},
		{s.path("layers"), "SELECT count(*) FROM layers WHERE diff_id = ?"},
		{s.path("tocs"), "SELECT count(*) FROM layers WHERE diff_id = ?"},
	} {
		err := eachEntry(kind.dir, cutoff, func(path string) error {
			var n int
			if err := s.db.QueryRow(kind.query, "sha256:"+filepath.Base(path)).Scan(&n); err != nil || n > 0 {
				return err
			}
			return s.removeUnnamed(path, kind.query, p)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// removeUnnamed removes a blob or layer unless it has got a row meanwhile.
func (s *Store) removeUnnamed(path, query string, p *Pruned) error {
	tmp, err := s.Temp("gone")
	if err != nil {
		return err
	}
	err = s.inTx(func(tx *sql.Tx) error {
		var n int
		if err := tx.QueryRow(query, "sha256:"+filepath.Base(path)).Scan(&n); err != nil || n > 0 {
			return err
		}
		return os.Rename(path, filepath.Join(tmp, "it"))
	})
	return errors.Join(err, s.removeAll(filepath.Join(tmp, "it"), p), os.Remove(tmp))
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

// removeAll removes a file or folder and counts what it took on the disk.
func (s *Store) removeAll(path string, p *Pruned) error {
	size, err := diskUse(path)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	p.Freed += size
	return nil
}

// diskUse is what a file or folder takes on the disk in bytes; a file with several names below path counts
// once. What is not there takes nothing.
func diskUse(path string) (int64, error) {
	total := int64(0)
	seen := map[uint64]bool{}
	err := filepath.WalkDir(path, func(p string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(p, &st)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed by somebody else meanwhile
		}
		if err != nil {
			return err
		}
		if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if seen[st.Ino] {
				return nil
			}
			seen[st.Ino] = true
		}
		total += st.Blocks * 512
		return nil
	})
	return total, err
}

// contentsUse is what lies in a folder, the folder itself not counted.
func contentsUse(dir string) (int64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	total := int64(0)
	for _, e := range entries {
		size, err := diskUse(filepath.Join(dir, e.Name()))
		if err != nil {
			return 0, err
		}
		total += size
	}
	return total, nil
}

// shrink gives the space of deleted rows back to the disk. Another process that is using meta.db right now
// is a reason to leave it for the next time.
func (s *Store) shrink(p *Pruned) error {
	if p.Freed == 0 && len(p.Images)+len(p.Steps)+p.Records == 0 {
		return nil
	}
	before := s.metaSize()
	for _, q := range []string{"VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"} {
		if _, err := s.db.Exec(q); err != nil {
			if strings.Contains(err.Error(), "SQLITE_BUSY") || strings.Contains(err.Error(), "locked") {
				return nil
			}
			return err
		}
	}
	p.Freed += max(before-s.metaSize(), 0)
	return nil
}

// metaSize is what meta.db and its log take on the disk in bytes.
func (s *Store) metaSize() int64 {
	total := int64(0)
	for _, name := range []string{"meta.db", "meta.db-wal", "meta.db-shm"} {
		size, err := diskUse(s.path(name))
		if err == nil {
			total += size
		}
	}
	return total
}
