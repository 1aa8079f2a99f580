package gc

import (
	"cmp"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store/db"
	"github.com/strata-build/strata/internal/store/images"
	"github.com/strata-build/strata/internal/store/kept"
	"github.com/strata-build/strata/internal/store/mounts"
)

// CacheSize is what Limit with the same options would count, in bytes on this disk: with All the
// cache mounts, what is kept, and the layers that no named image has.
func (c *Collector) CacheSize(o Options) (int64, error) {
	u, err := c.measureCache(o)
	if err != nil {
		return 0, err
	}
	return u.total, nil
}

// cacheUse is the layers, cache mounts and sources that may go.
type cacheUse struct {
	mounts  []mounts.Use
	sources []kept.Use
	// layers are by diffID, and cache mounts and sources among them by keys of their own: what goes
	// first is chosen from both.
	layers map[digest.Digest]*cachedLayer
	total  int64                           // bytes on this disk
	bases  map[digest.Digest]digest.Digest // by the layer whose tar is a delta of them
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
	kind  images.Kind
	chain []digest.Digest
}

// mountKey stands for a cache mount among diffIDs.
func mountKey(u mounts.Use) digest.Digest { return digest.Digest("mount:" + u.Path()) }

// sourceKey stands for something that is kept among diffIDs.
func sourceKey(u kept.Use) digest.Digest { return digest.Digest("source:" + u.Path) }

// addMounts adds the cache mounts. Those in use count too, though they stay.
func (u *cacheUse) addMounts(ms *mounts.Mounts) (err error) {
	if u.mounts, err = ms.CacheMounts(); err != nil {
		return err
	}
	for _, m := range u.mounts {
		used := m.Used.UnixMilli()
		if m.InUse {
			used = db.Now()
		}
		u.layers[mountKey(m)] = &cachedLayer{diffID: mountKey(m), disk: m.Disk, added: m.Created.UnixMilli(), used: used}
	}
	return nil
}

// addSources adds what is kept of URLs, git repositories and build contexts.
func (u *cacheUse) addSources(k *kept.Kept) (err error) {
	if u.sources, err = k.Uses(); err != nil {
		return err
	}
	for _, s := range u.sources {
		used := s.Used.UnixMilli()
		u.layers[sourceKey(s)] = &cachedLayer{diffID: sourceKey(s), disk: s.Disk, added: used, used: used}
	}
	return nil
}

// measureCache adds up the layers that no image has or, with o.All, no named one, and the cache mounts, as far as o
// takes either.
func (c *Collector) measureCache(o Options) (*cacheUse, error) {
	u, err := c.measureLayersOf(o)
	if err == nil && !o.NoMounts {
		err = u.addMounts(c.mounts)
	}
	if err == nil && !o.Mounts {
		err = u.addSources(c.kept)
	}
	if err != nil {
		return nil, fmt.Errorf("measuring the cache: %w", err)
	}
	for _, l := range u.layers {
		u.total += l.disk
	}
	return u, nil
}

// measureLayersOf finds the layers.
func (c *Collector) measureLayersOf(o Options) (*cacheUse, error) {
	u := &cacheUse{layers: map[digest.Digest]*cachedLayer{}, bases: map[digest.Digest]digest.Digest{}, configs: map[digest.Digest]*cachedConfig{}}
	if o.Mounts {
		return u, nil
	}
	blobs, err := c.blobSizes()
	if err != nil {
		return nil, err
	}
	rows, err := c.db.Query("SELECT diff_id, disk, added, used FROM layers")
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
		u.layers[l.diffID] = l
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	query := "SELECT data FROM configs WHERE kind = 'image'"
	if o.All {
		query = "SELECT data FROM configs WHERE id IN (SELECT id FROM names UNION SELECT id FROM platforms UNION SELECT image FROM containers)"
	}
	err = c.eachChain(query, func(chain []digest.Digest) {
		for _, d := range chain {
			delete(u.layers, d)
		}
	})
	if err == nil {
		err = c.withDeltas(u)
	}
	if err != nil {
		return nil, fmt.Errorf("measuring the images: %w", err)
	}
	return u, nil
}

// delta is a layer whose tar is one, and its base.
type delta struct{ layer, base digest.Digest }

// deltas are those of layers that are known.
func (c *Collector) deltas() ([]delta, error) {
	rows, err := c.db.Query("SELECT layer, base FROM deltas WHERE layer IN (SELECT diff_id FROM layers)")
	return db.Rows(rows, err, func(rows *sql.Rows) (d delta, err error) {
		err = rows.Scan(&d.layer, &d.base)
		return d, err
	})
}

// withDeltas notes what tars are deltas of: their bases stay as long.
func (c *Collector) withDeltas(u *cacheUse) error {
	all, err := c.deltas()
	for _, d := range all {
		if u.layers[d.layer] == nil {
			delete(u.layers, d.base)
		} else if u.layers[d.base] != nil {
			u.bases[d.layer] = d.base
		}
	}
	return err
}

// blobSizes is what the compressed forms of each layer take on this disk.
func (c *Collector) blobSizes() (map[digest.Digest]int64, error) {
	sizes := map[digest.Digest]int64{}
	entries, err := os.ReadDir(c.content.Folder())
	if len(entries) == 0 {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return sizes, err
	}
	rows, err := c.db.Query("SELECT DISTINCT digest, diff_id, size FROM blobs")
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

func (c *Collector) eachChain(query string, f func([]digest.Digest)) error {
	rows, err := c.db.Query(query)
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
func (c *Collector) datesOf(u *cacheUse) error {
	records, err := c.db.Query("SELECT layer, max(used) FROM records WHERE layer != '' GROUP BY layer")
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
		if l := u.layers[d]; l != nil {
			l.used = max(l.used, used)
		}
	}
	if err := records.Err(); err != nil {
		return err
	}
	configs, err := c.db.Query("SELECT id, kind, data, used FROM configs")
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
			if l := u.layers[d]; l != nil {
				l.used, l.depth = max(l.used, used), max(l.depth, depth)
				u.configs[id] = config
			}
		}
	}
	for delta, base := range u.bases {
		if l, b := u.layers[delta], u.layers[base]; l != nil && b != nil {
			b.used, b.depth = max(b.used, l.used), min(b.depth, l.depth-1)
		}
	}
	return configs.Err()
}

// oldest chooses layers until no more than size bytes are left, those used last first. What was used since cutoff
// stays.
func (u *cacheUse) oldest(size, cutoff int64) map[digest.Digest]bool {
	var all []*cachedLayer
	for _, l := range u.layers {
		if l.used < cutoff {
			all = append(all, l)
		}
	}
	slices.SortFunc(all, func(a, b *cachedLayer) int {
		return cmp.Or(cmp.Compare(a.used, b.used), cmp.Compare(b.depth, a.depth), cmp.Compare(b.added, a.added), cmp.Compare(a.diffID, b.diffID))
	})
	gone := map[digest.Digest]bool{}
	left := u.total
	for _, l := range all {
		if left <= size {
			break
		}
		gone[l.diffID] = true
		left -= l.disk
	}
	return gone
}
