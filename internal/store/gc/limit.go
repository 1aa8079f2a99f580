package gc

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store/db"
	"github.com/strata-build/strata/internal/store/images"
)

// Limit removes what was not used for the longest time until the build cache takes no more than
// size bytes on the disk: the cache mounts, what is kept of URLs, git repositories and build
// contexts, and the layers that no image has with the records that lead to them. With o.All it
// counts and takes what images without a name have too, and those images. o.Until spares what is
// younger. Named images always stay, and so does what a process that runs now may be using.
//
// A store that is below size altogether costs one look at meta.db, one at the names of the blobs,
// one at those cache mounts that were used since the last, and one at the few files of sources.
func (c *Collector) Limit(size int64, o Options) (*Pruned, error) {
	p := &Pruned{}
	cache, err := c.measureCache(o)
	if err != nil || cache.total <= size {
		return p, err
	}
	c.session.MakeRoom()
	release, err := c.session.Lock(context.Background(), "prune")
	if err != nil {
		return nil, err
	}
	defer release()
	cut, err := c.cutoffs(o.Until)
	if err != nil {
		return nil, err
	}
	cut.used = min(cut.used, cut.added)
	cutoff := cut.used
	// What nothing leads to goes first; another prune may also have been here while this one waited.
	if err := c.collect(cutoff, p); err != nil {
		return p, fmt.Errorf("removing layers: %w", err)
	}
	if cache, err = c.measureCache(o); err != nil || cache.total <= size {
		return p, err
	}
	err = c.decide(cut, func(*sql.Tx) error { return nil })
	if err == nil {
		err = c.datesOf(cache)
	}
	if err != nil {
		return p, fmt.Errorf("looking for what was not used for long: %w", err)
	}
	gone := cache.oldest(size, cutoff)
	for _, u := range cache.mounts {
		if gone[mountKey(u)] {
			if err := c.removeMount(u, p); err != nil {
				return p, fmt.Errorf("removing cache mounts: %w", err)
			}
		}
	}
	for _, u := range cache.sources {
		if gone[sourceKey(u)] {
			if err := c.removeKept(u.Path, p); err != nil {
				return p, fmt.Errorf("removing what is kept of URLs and repositories: %w", err)
			}
		}
	}
	err = c.decide(cut, func(tx *sql.Tx) error { return c.evict(tx, cache, gone, cut, p) })
	if err != nil {
		return p, fmt.Errorf("removing cache records: %w", err)
	}
	if err := c.collect(cutoff, p); err != nil {
		return p, fmt.Errorf("removing layers: %w", err)
	}
	return p, nil
}

// evict drops all that leads to layers. Which ones those are was chosen before, which takes time; what was used
// or named since stays.
func (c *Collector) evict(tx *sql.Tx, cache *cacheUse, gone map[digest.Digest]bool, cut cutoffs, p *Pruned) error {
	cutoff := cut.used
	var keys []digest.Digest
	for d := range gone {
		found, err := db.Column[digest.Digest](tx.Query("SELECT key FROM records WHERE layer = ?", d))
		if err != nil {
			return err
		}
		keys = append(keys, found...)
	}
	if err := p.deleteRecords(tx, keys, cutoff); err != nil {
		return err
	}
	var free []digest.Digest
	for id, config := range cache.configs {
		if !slices.ContainsFunc(config.chain, func(d digest.Digest) bool { return gone[d] }) {
			continue
		}
		switch config.kind {
		case images.Image:
			// A name that it got meanwhile keeps it, and so does a use.
			var n int
			if err := tx.QueryRow(`SELECT count(*) FROM configs WHERE id = ?1 AND used < ?2
				AND NOT EXISTS (SELECT 1 FROM names WHERE names.id = ?1)
				AND NOT EXISTS (SELECT 1 FROM containers WHERE image = ?1)
				AND NOT EXISTS (SELECT 1 FROM platforms WHERE platforms.id = ?1)`, id, cutoff).Scan(&n); err != nil {
				return err
			}
			if n > 0 {
				free = append(free, id)
			}
		case images.Failed:
			if _, err := tx.Exec("DELETE FROM configs WHERE id = ? AND used < ?", id, cutoff); err != nil {
				return err
			}
		}
	}
	return removeConfigs(tx, free, cut, p)
}
