package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/image"
)

// PruneOptions says what may go.
type PruneOptions struct {
	// All takes every image and the whole cache. Otherwise named images, what they are made of, and the
	// records of their steps stay.
	All bool
	// Images limits the prune to images: the records of the cache, and the layers they lead to, stay.
	Images bool
	// Until spares what was added after that time; the zero time spares nothing.
	Until time.Time
	// Keep spares images: it gets their config and says whether to keep them. Nil keeps none.
	Keep func(*Config) bool
}

// Pruned is what a prune took.
type Pruned struct {
	Untagged []string        // names
	Images   []digest.Digest // images, not the steps on the way
	Layers   []digest.Digest
	Records  int
	Freed    int64 // bytes on this disk
}

// Prune removes what options allow, but nothing that a process that runs now may have looked up.
func (s *Store) Prune(o PruneOptions) (*Pruned, error) {
	release, err := s.Lock(context.Background(), "prune")
	if err != nil {
		return nil, err
	}
	defer release()
	cutoff, err := s.oldestSession()
	if err != nil {
		return nil, fmt.Errorf("looking for builds that run: %w", err)
	}
	if cutoff == 0 {
		cutoff = now() + 1
	}
	if !o.Until.IsZero() {
		cutoff = min(cutoff, o.Until.UnixMilli())
	}
	p := &Pruned{}
	if err := s.pruneConfigs(o, cutoff, p); err != nil {
		return p, fmt.Errorf("removing images: %w", err)
	}
	if !o.Images {
		if err := s.pruneRecords(o, cutoff, p); err != nil {
			return p, fmt.Errorf("removing cache records: %w", err)
		}
	}
	if err := s.collect(cutoff, p); err != nil {
		return p, fmt.Errorf("removing layers: %w", err)
	}
	return p, nil
}

// Remove takes an image out of the store with what only it needed, the steps on the way included. Records
// of the cache, and the layers they lead to, stay.
func (s *Store) Remove(id digest.Digest) (*Pruned, error) {
	release, err := s.Lock(context.Background(), "prune")
	if err != nil {
		return nil, err
	}
	defer release()
	p := &Pruned{}
	if err := s.removeConfigs([]digest.Digest{id}, p); err != nil {
		return p, fmt.Errorf("removing image %s: %w", id, err)
	}
	if err := s.dropSteps(now() + 1); err != nil {
		return p, fmt.Errorf("removing image %s: %w", id, err)
	}
	cutoff, err := s.oldestSession()
	if err != nil {
		return p, err
	}
	if cutoff == 0 {
		cutoff = now() + 1
	}
	if err := s.collect(cutoff, p); err != nil {
		return p, fmt.Errorf("removing the layers of image %s: %w", id, err)
	}
	return p, nil
}

func (s *Store) pruneConfigs(o PruneOptions, cutoff int64, p *Pruned) error {
	images, err := s.Configs(Image)
	if err != nil {
		return err
	}
	var gone []digest.Digest
	for _, c := range images {
		var used, named int64
		if err := s.db.QueryRow("SELECT used, (SELECT count(*) FROM names WHERE names.id = configs.id) FROM configs WHERE id = ?", c.ID).Scan(&used, &named); err != nil {
			return err
		}
		if max(used, c.Added.UnixMilli()) >= cutoff && o.Until.IsZero() || c.Added.UnixMilli() >= cutoff {
			continue
		}
		if named > 0 && !o.All || o.Keep != nil && o.Keep(c) {
			continue
		}
		gone = append(gone, c.ID)
	}
	if err := s.removeConfigs(gone, p); err != nil {
		return err
	}
	if _, err := s.db.Exec("DELETE FROM configs WHERE kind = 'failed' AND used < ?", cutoff); err != nil {
		return err
	}
	return s.dropSteps(cutoff)
}

func (s *Store) removeConfigs(ids []digest.Digest, p *Pruned) error {
	for _, id := range ids {
		names, err := s.Names(id)
		if err != nil {
			return err
		}
		for _, n := range names {
			p.Untagged = append(p.Untagged, n.Name)
		}
		for _, q := range []string{"DELETE FROM names WHERE id = ?", "DELETE FROM manifests WHERE id = ?", "DELETE FROM configs WHERE id = ?"} {
			if _, err := s.db.Exec(q, id); err != nil {
				return err
			}
		}
		p.Images = append(p.Images, id)
	}
	return nil
}

// dropSteps removes the steps that are not on the way to an image any more.
func (s *Store) dropSteps(cutoff int64) error {
	_, err := s.db.Exec(`WITH RECURSIVE kept (id) AS (
			SELECT id FROM configs WHERE kind != 'step' OR used >= ?1
			UNION SELECT parent FROM configs JOIN kept USING (id) WHERE parent != '')
		DELETE FROM configs WHERE kind = 'step' AND id NOT IN (SELECT id FROM kept)`, cutoff)
	return err
}

// pruneRecords drops records: all of them, or those whose layer no image has.
func (s *Store) pruneRecords(o PruneOptions, cutoff int64, p *Pruned) error {
	kept := map[digest.Digest]bool{}
	if !o.All {
		var err error
		if kept, err = s.layersOfConfigs(); err != nil {
			return err
		}
	}
	rows, err := s.db.Query("SELECT key, layer FROM records WHERE used < ?", cutoff)
	if err != nil {
		return err
	}
	var gone []string
	for rows.Next() {
		var key string
		var l digest.Digest
		if err := rows.Scan(&key, &l); err != nil {
			rows.Close()
			return err
		}
		if o.All || l != "" && !kept[l] {
			gone = append(gone, key)
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for _, key := range gone {
		r, err := s.db.Exec("DELETE FROM records WHERE key = ? AND used < ?", key, cutoff)
		if err != nil {
			return err
		}
		n, _ := r.RowsAffected()
		p.Records += int(n)
	}
	return nil
}

// layersOfConfigs returns the diffIDs that the images, steps and failed steps in the store are made of.
func (s *Store) layersOfConfigs() (map[digest.Digest]bool, error) {
	rows, err := s.db.Query("SELECT id, data FROM configs")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	kept := map[digest.Digest]bool{}
	for rows.Next() {
		var id string
		var data []byte
		if err := rows.Scan(&id, &data); err != nil {
			return nil, err
		}
		chain, err := image.DiffIDs(data)
		if err != nil {
			return nil, fmt.Errorf("config %s: %w", id, err)
		}
		for _, d := range chain {
			kept[d] = true
		}
	}
	return kept, rows.Err()
}

// collect removes the layers to which neither a config nor a record leads, and the blobs of layers that
// are no more.
func (s *Store) collect(cutoff int64, p *Pruned) error {
	kept, err := s.layersOfConfigs()
	if err != nil {
		return err
	}
	rows, err := s.db.Query("SELECT diff_id, disk FROM layers WHERE used < ? AND NOT EXISTS (SELECT 1 FROM records WHERE layer = diff_id AND layer != '')", cutoff)
	if err != nil {
		return err
	}
	gone := map[digest.Digest]int64{}
	for rows.Next() {
		var d digest.Digest
		var disk int64
		if err := rows.Scan(&d, &disk); err != nil {
			rows.Close()
			return err
		}
		if !kept[d] {
			gone[d] = disk
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for d, disk := range gone {
		if err := s.removeLayer(d, cutoff, disk, p); err != nil {
			return err
		}
	}
	return s.collectFiles(cutoff, p)
}

func (s *Store) removeLayer(d digest.Digest, cutoff, disk int64, p *Pruned) error {
	blobs, err := s.Blobs(d)
	if err != nil {
		return err
	}
	// The row goes first, and only if nobody used it since: whoever looks for the layer from here on makes
	// it anew, under the same name, which must not be removed then. So the folder is renamed at once.
	r, err := s.db.Exec("DELETE FROM layers WHERE diff_id = ? AND used < ?", d, cutoff)
	if err != nil {
		return err
	}
	if n, _ := r.RowsAffected(); n == 0 {
		return nil
	}
	if _, err := s.db.Exec("DELETE FROM blobs WHERE diff_id = ?", d); err != nil {
		return err
	}
	tmp, err := s.Temp("gone")
	if err != nil {
		return err
	}
	switch err := os.Rename(s.layerPath(d), tmp+"/layer"); {
	case err == nil:
		p.Freed += disk
		p.Layers = append(p.Layers, d)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	for _, b := range blobs {
		if err := s.removeFile(s.blobPath(b.Digest), p); err != nil {
			return err
		}
	}
	return os.RemoveAll(tmp)
}

// collectFiles removes what no row of meta.db names: blobs and layers of processes that were killed, and
// partial downloads.
func (s *Store) collectFiles(cutoff int64, p *Pruned) error {
	for _, kind := range []struct{ dir, query string }{
		{s.path("blobs", "sha256"), "SELECT count(*) FROM blobs WHERE repository = '' AND digest = ?"},
		{s.path("layers"), "SELECT count(*) FROM layers WHERE diff_id = ?"},
	} {
		entries, err := os.ReadDir(kind.dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			var n int
			if err := s.db.QueryRow(kind.query, "sha256:"+e.Name()).Scan(&n); err != nil {
				return err
			}
			info, err := e.Info()
			if n > 0 || err != nil || info.ModTime().UnixMilli() >= cutoff {
				continue
			}
			path := kind.dir + "/" + e.Name()
			if strings.HasSuffix(kind.dir, "layers") {
				err = os.RemoveAll(path)
			} else {
				err = s.removeFile(path, p)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) removeFile(path string, p *Pruned) error {
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	p.Freed += st.Size()
	return nil
}

// Usage is what one part of the store takes.
type Usage struct {
	Count, Active     int
	Size, Reclaimable int64 // bytes on this disk
}
