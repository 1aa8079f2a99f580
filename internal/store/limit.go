package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/image"
)

// Limit removes what was not used for the longest time until the build cache takes no more than size bytes on the
// disk: the cache mounts, what is kept of URLs, git repositories and build contexts, and the layers that no image has with the records
// that lead to them. With o.All it counts and takes what images without a name have too, and those images. o.Until spares what is younger. Named images always stay, and so does
// what a process that runs now may be using.
//
// A store that is below size altogether costs one look at meta.db, one at the names of the blobs, one at those cache
// mounts that were used since the last, and one at the few files of sources.
func (s *Store) Limit(size int64, o PruneOptions) (*Pruned, error) {
	p := &Pruned{}
	c, err := s.measureCache(o)
	if err != nil || c.total <= size {
		return p, err
	}
	release, err := s.Lock(context.Background(), "prune")
	if err != nil {
		return nil, err
	}
	defer release()
	cut, err := s.cutoffs(o.Until)
	if err != nil {
		return nil, err
	}
	cutoff := min(cut.used, cut.added)
	// What nothing leads to goes first; another prune may also have been here while this one waited.
	if err := s.collect(cutoff, p); err != nil {
		return p, fmt.Errorf("removing layers: %w", err)
	}
	if c, err = s.measureCache(o); err != nil || c.total <= size {
		return p, err
	}
	if err := s.datesOf(c); err != nil {
		return p, fmt.Errorf("looking for what was not used for long: %w", err)
	}
	gone := c.oldest(size, cutoff)
	for _, u := range c.mounts {
		if gone[mountKey(u)] {
			if err := s.removeMount(u, p); err != nil {
				return p, fmt.Errorf("removing cache mounts: %w", err)
			}
		}
	}
	for _, u := range c.sources {
		if gone[u.key()] {
			if err := s.removeKept(u.path, p); err != nil {
				return p, fmt.Errorf("removing what is kept of URLs and repositories: %w", err)
			}
		}
	}
	err = s.inTx(func(tx *sql.Tx) error { return s.evict(tx, c, gone, cutoff, p) })
	if err != nil {
		return p, fmt.Errorf("removing cache records: %w", err)
	}
	if err := s.collect(cutoff, p); err != nil {
		return p, fmt.Errorf("removing layers: %w", err)
	}
	return p, nil
}

// CacheSize is what Limit with All would count: the cache mounts and the layers that no named image has, in bytes on this
// disk.
func (s *Store) CacheSize() (int64, error) {
	c, err := s.measureCache(PruneOptions{All: true})
	if err != nil {
		return 0, err
	}
	return c.total, nil
}

// cacheUse is the layers, cache mounts and sources that may go.
type cacheUse struct {
	mounts  []CacheMountUse
	sources []sourceUse
	// layers are by diffID, and cache mounts and sources among them by keys of their own: what goes first is chosen from both.
	layers map[digest.Digest]*cachedLayer
	total  int64 // bytes on this disk
	// configs that have one of the layers
	configs map[digest.Digest]*cachedConfig
}

type cachedLayer struct {
	diffID digest.Digest
	disk   int64
	added  int64
	used   int64
	depth  int // how many layers lie below it, at most
}

type cachedConfig struct {
	kind  Kind
	chain []digest.Digest
}

// mountKey stands for a cache mount among diffIDs.
func mountKey(u CacheMountUse) digest.Digest { return digest.Digest("mount:" + u.dir) }

// measureMounts adds the cache mounts. Those in use count too, though they stay.
func (c *cacheUse) measureMounts(s *Store) (err error) {
	if c.mounts, err = s.CacheMounts(); err != nil {
		return err
	}
	for _, u := range c.mounts {
		used := u.Used.UnixMilli()
		if u.InUse {
			used = now()
		}
		c.layers[mountKey(u)] = &cachedLayer{diffID: mountKey(u), disk: u.Disk, added: u.Created.UnixMilli(), used: used}
	}
	return nil
}

// measureCache adds up the layers that no image has or, with o.All, no named one, and the cache mounts, as far as o
// takes either.
func (s *Store) measureCache(o PruneOptions) (*cacheUse, error) {
	c, err := s.measureLayersOf(o)
	if err == nil && !o.NoMounts {
		err = c.measureMounts(s)
	}
	if err == nil && !o.Mounts {
		err = c.measureSources(s)
	}
	if err != nil {
		return nil, fmt.Errorf("measuring the cache: %w", err)
	}
	for _, l := range c.layers {
		c.total += l.disk
	}
	return c, nil
}

// measureLayersOf finds the layers.
func (s *Store) measureLayersOf(o PruneOptions) (*cacheUse, error) {
	c := &cacheUse{layers: map[digest.Digest]*cachedLayer{}, configs: map[digest.Digest]*cachedConfig{}}
	if o.Mounts {
		return c, nil
	}
	blobs, err := s.blobSizes()
	if err != nil {
		return nil, err
	}
	rows, err := s.db.Query("SELECT diff_id, disk, added, used FROM layers")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		l := &cachedLayer{}
		if err := rows.Scan(&l.diffID, &l.disk, &l.added, &l.used); err != nil {
			return nil, err
		}
		l.disk += blobs[l.diffID]
		c.layers[l.diffID] = l
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	query := "SELECT data FROM configs WHERE kind = 'image'"
	if o.All {
		query = "SELECT data FROM configs WHERE id IN (SELECT id FROM names UNION SELECT id FROM platforms)"
	}
	err = s.eachChain(query, func(chain []digest.Digest) {
		for _, d := range chain {
			delete(c.layers, d)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("measuring the images: %w", err)
	}
	return c, nil
}

// blobSizes is what the compressed forms of each layer take on this disk.
func (s *Store) blobSizes() (map[digest.Digest]int64, error) {
	sizes := map[digest.Digest]int64{}
	entries, err := os.ReadDir(s.path("blobs", "sha256"))
	if len(entries) == 0 {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return sizes, err
	}
	rows, err := s.db.Query("SELECT DISTINCT digest, diff_id, size FROM blobs")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	here := map[string]bool{}
	for _, e := range entries {
		here[e.Name()] = true
	}
	for rows.Next() {
		var blob, diffID digest.Digest
		var size int64
		if err := rows.Scan(&blob, &diffID, &size); err != nil {
			return nil, err
		}
		if here[blob.Encoded()] {
			sizes[diffID] += size
		}
	}
	return sizes, rows.Err()
}

func (s *Store) eachChain(query string, f func([]digest.Digest)) error {
	rows, err := s.db.Query(query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var data []byte
		if err := rows.Scan(&data); err != nil {
			return err
		}
		chain, err := image.DiffIDs(data)
		if err != nil {
			return err
		}
		f(chain)
	}
	return rows.Err()
}

// datesOf finds when each layer was last used: by itself, by a record, or as a part of a state. A layer is used
// whenever one above it is, so of those that were used at the same time the ones on top go first.
func (s *Store) datesOf(c *cacheUse) error {
	records, err := s.db.Query("SELECT layer, max(used) FROM records WHERE layer != '' GROUP BY layer")
	if err != nil {
		return err
	}
	defer records.Close()
	for records.Next() {
		var d digest.Digest
		var used int64
		if err := records.Scan(&d, &used); err != nil {
			return err
		}
		if l := c.layers[d]; l != nil {
			l.used = max(l.used, used)
		}
	}
	if err := records.Err(); err != nil {
		return err
	}
	configs, err := s.db.Query("SELECT id, kind, data, used FROM configs")
	if err != nil {
		return err
	}
	defer configs.Close()
	for configs.Next() {
		var id digest.Digest
		var data []byte
		var used int64
		config := &cachedConfig{}
		if err := configs.Scan(&id, &config.kind, &data, &used); err != nil {
			return err
		}
		if config.chain, err = image.DiffIDs(data); err != nil {
			return fmt.Errorf("config %s: %w", id, err)
		}
		for depth, d := range config.chain {
			if l := c.layers[d]; l != nil {
				l.used, l.depth = max(l.used, used), max(l.depth, depth)
				c.configs[id] = config
			}
		}
	}
	return configs.Err()
}

// oldest chooses layers until no more than size bytes are left, those used last first. What was used since cutoff
// stays.
func (c *cacheUse) oldest(size, cutoff int64) map[digest.Digest]bool {
	var all []*cachedLayer
	for _, l := range c.layers {
		if l.used < cutoff {
			all = append(all, l)
		}
	}
	slices.SortFunc(all, func(a, b *cachedLayer) int {
		return cmp.Or(cmp.Compare(a.used, b.used), cmp.Compare(b.depth, a.depth), cmp.Compare(b.added, a.added), cmp.Compare(a.diffID, b.diffID))
	})
	gone := map[digest.Digest]bool{}
	left := c.total
	for _, l := range all {
		if left <= size {
			break
		}
		gone[l.diffID] = true
		left -= l.disk
	}
	return gone
}

// evict drops all that leads to layers.
func (s *Store) evict(tx *sql.Tx, c *cacheUse, gone map[digest.Digest]bool, cutoff int64, p *Pruned) error {
	var keys []string
	for d := range gone {
		found, err := column[string](tx.Query("SELECT key FROM records WHERE layer = ?", d))
		if err != nil {
			return err
		}
		keys = append(keys, found...)
	}
	if err := deleteRecords(tx, keys, cutoff, p); err != nil {
		return err
	}
	var images []digest.Digest
	for id, config := range c.configs {
		if !slices.ContainsFunc(config.chain, func(d digest.Digest) bool { return gone[d] }) {
			continue
		}
		switch config.kind {
		case Image:
			// A name that it got meanwhile keeps it, and so does a use.
			var free int
			if err := tx.QueryRow(`SELECT count(*) FROM configs WHERE id = ?1 AND used < ?2
				AND NOT EXISTS (SELECT 1 FROM names WHERE names.id = ?1)
				AND NOT EXISTS (SELECT 1 FROM platforms WHERE platforms.id = ?1)`, id, cutoff).Scan(&free); err != nil {
				return err
			}
			if free > 0 {
				images = append(images, id)
			}
		case Failed:
			if _, err := tx.Exec("DELETE FROM configs WHERE id = ? AND used < ?", id, cutoff); err != nil {
				return err
			}
		}
	}
	return removeConfigs(tx, images, cutoff, p)
}
