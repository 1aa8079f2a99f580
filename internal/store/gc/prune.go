// Package gc removes from the store what nothing leads to, what a prune may take and what goes
// beyond a limit, and measures what there is. It is the only package that removes layers, blobs and
// configs. docs/store.md says what stays beside a build.
package gc

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store/content"
	"github.com/strata-build/strata/internal/store/db"
	"github.com/strata-build/strata/internal/store/images"
	"github.com/strata-build/strata/internal/store/kept"
	"github.com/strata-build/strata/internal/store/layers"
	"github.com/strata-build/strata/internal/store/mounts"
	"github.com/strata-build/strata/internal/store/plans"
	"github.com/strata-build/strata/internal/store/records"
	"github.com/strata-build/strata/internal/store/session"
)

// Collector removes and measures what is in a store.
type Collector struct {
	db      *db.DB
	session *session.Session
	root    string
	content *content.Content
	layers  *layers.Layers
	images  *images.Images
	mounts  *mounts.Mounts
	kept    *kept.Kept
}

// Parts are the parts of a store, of which things are removed.
type Parts struct {
	Content *content.Content
	Layers  *layers.Layers
	Images  *images.Images
	Mounts  *mounts.Mounts
	Kept    *kept.Kept
}

// New makes what removes things from the store in the folder root.
func New(root string, d *db.DB, se *session.Session, p Parts) *Collector {
	return &Collector{db: d, session: se, root: root,
		content: p.Content, layers: p.Layers, images: p.Images, mounts: p.Mounts, kept: p.Kept}
}

// Options says what may go.
type Options struct {
	// All takes every image and the whole cache. Otherwise named images, what they are made of, and the
	// records of their steps stay.
	All bool
	// Images limits the prune to images: the records of the cache, and the layers they lead to, stay.
	Images bool
	// Records limits the prune to the cache: images stay.
	Records bool
	// Mounts limits a prune of the cache to cache mounts, NoMounts to everything else.
	Mounts, NoMounts bool
	// Only limits a prune of the cache to these entries; nil does not.
	Only *Only
	// Until spares what was added, or in the cache used, after that time; the zero time spares nothing.
	Until time.Time
	// Keep spares images: it gets their config and says whether to keep them. Nil keeps none.
	Keep func(*images.Config) bool
}

// Only names entries of the cache: records by their keys, cache mounts by their IDs.
type Only struct {
	Records []digest.Digest
	Mounts  []string
}

// Pruned is what a prune took.
type Pruned struct {
	Untagged []string        // names
	Images   []digest.Digest // images, not the steps on the way
	Steps    []digest.Digest // steps that were on the way to nothing else
	Layers   []digest.Digest
	Records  int
	Mounts   int   // instances of cache mounts
	Freed    int64 // bytes on this disk
}

// deleteRecords drops records that nobody used since cutoff.
func (p *Pruned) deleteRecords(tx *sql.Tx, keys []digest.Digest, cutoff int64) error {
	n, err := records.Delete(tx, keys, cutoff)
	p.Records += n
	return err
}

// cutoffs are the times, as meta.db has them, from which on things stay.
type cutoffs struct {
	used  int64 // when the longest-running other process began: it may use what was used since
	added int64 // Options.Until
	alone bool  // no other process uses the store
}

// cutoffs finds out what other processes may be using.
func (c *Collector) cutoffs(until time.Time) (cutoffs, error) {
	// What begins while it is looked around is not seen, and uses things from this moment on at the earliest.
	started := db.Now()
	used, err := c.session.Oldest()
	if err != nil {
		return cutoffs{}, fmt.Errorf("looking for builds that run: %w", err)
	}
	alone := used == 0
	if alone || used > started {
		used = started
	}
	if alone {
		if err := c.pastTimes(started); err != nil {
			return cutoffs{}, fmt.Errorf("correcting times in the future: %w", err)
		}
	}
	cut := cutoffs{used: used, added: started, alone: alone}
	if !until.IsZero() {
		cut.added = until.UnixMilli()
	}
	return cut, nil
}

// pastTimes gives what was used or added later than now, when the clock went wrong, a time just before now: it counts
// as old where all may go, and as new where a filter spares what is new. What others use at this moment is no more
// than a minute ahead.
func (c *Collector) pastTimes(now int64) error {
	return c.db.Tx(func(tx *sql.Tx) error {
		for _, t := range []struct{ table, added string }{{"configs", "added"}, {"layers", "added"}, {"records", "made"}, {"plans", "held"}} {
			if _, err := tx.Exec(fmt.Sprintf("UPDATE %[1]s SET used = min(used, ?1), %[2]s = min(%[2]s, ?1) WHERE used > ?2 OR %[2]s > ?2",
				t.table, t.added), now-1, now+time.Minute.Milliseconds()); err != nil {
				return err
			}
		}
		return nil
	})
}

// decide runs f in a transaction in which configs and records have the time of their last use.
func (c *Collector) decide(cut cutoffs, f func(*sql.Tx) error) error {
	return c.db.Tx(func(tx *sql.Tx) error {
		if err := plans.Spread(tx, cut.used); err != nil {
			return err
		}
		return f(tx)
	})
}

// Prune removes what options allow, but nothing that a process that runs now may have looked up.
func (c *Collector) Prune(o Options) (*Pruned, error) {
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
	p := &Pruned{}
	if !o.Images && !o.NoMounts {
		// The lock of an instance says whether it is in use; a build that runs can do without the others.
		if err := c.pruneMounts(o, cut.added, p); err != nil {
			return p, fmt.Errorf("removing cache mounts: %w", err)
		}
	}
	if o.Mounts {
		return p, nil
	}
	if err := c.pruneConfigs(o, cut, p); err != nil {
		return p, fmt.Errorf("removing images: %w", err)
	}
	if !o.Images {
		if err := c.pruneRecords(o, cut, p); err != nil {
			return p, fmt.Errorf("removing cache records: %w", err)
		}
		if o.All && o.Only == nil {
			if err := c.pruneKept(min(cut.used, cut.added), p); err != nil {
				return p, fmt.Errorf("removing what is kept of build contexts, URLs and repositories: %w", err)
			}
		}
	}
	if err := c.collect(min(cut.used, cut.added), p); err != nil {
		return p, fmt.Errorf("removing layers: %w", err)
	}
	if !o.All || p.Freed == 0 && len(p.Images)+len(p.Steps)+p.Records == 0 {
		return p, nil
	}
	freed, err := c.db.Shrink()
	p.Freed += freed
	return p, err
}

func (c *Collector) pruneConfigs(o Options, cut cutoffs, p *Pruned) error {
	return c.decide(cut, func(tx *sql.Tx) error {
		var gone []digest.Digest
		if !o.Records {
			var err error
			if gone, err = prunable(tx, o, cut); err != nil {
				return err
			}
		}
		if _, err := tx.Exec("DELETE FROM configs WHERE kind = 'failed' AND used < ?", min(cut.used, cut.added)); err != nil {
			return err
		}
		return removeConfigs(tx, gone, cutoffs{min(cut.used, cut.added), cut.added, cut.alone}, p)
	})
}

// prunable returns the images that options allow to take.
func prunable(tx *sql.Tx, o Options, cut cutoffs) ([]digest.Digest, error) {
	rows, err := tx.Query(`SELECT id, parent, data, added FROM configs WHERE kind = 'image' AND used < ? AND added < ?
		AND NOT EXISTS (SELECT 1 FROM containers WHERE image = configs.id)
		AND (? OR NOT EXISTS (SELECT 1 FROM names WHERE names.id = configs.id)
			AND NOT EXISTS (SELECT 1 FROM platforms WHERE platforms.id = configs.id)) ORDER BY added DESC`, cut.used, cut.added, o.All)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var ids []digest.Digest
	for rows.Next() {
		c := &images.Config{Kind: images.Image}
		var added int64
		if err := rows.Scan(&c.ID, &c.Parent, &c.Data, &added); err != nil {
			return nil, err
		}
		c.Added = time.UnixMilli(added)
		if o.Keep == nil || !o.Keep(c) {
			ids = append(ids, c.ID)
		}
	}
	return ids, rows.Err()
}

// removeConfigs takes images away, with their names and the steps that were on the way to them alone. An image
// that is itself on the way to another becomes a step, since the history of that other leads through it.
//
// An index belongs to no image until a name tells of it, so indexes without a name stay while another
// process may be about to give them one.
func removeConfigs(tx *sql.Tx, ids []digest.Digest, cut cutoffs, p *Pruned) error {
	removed := map[digest.Digest]bool{}
	for _, id := range ids {
		names, err := db.Column[string](tx.Query("DELETE FROM names WHERE id = ? RETURNING name", id))
		if err != nil {
			return err
		}
		p.Untagged = append(p.Untagged, names...)
		if _, err := tx.Exec("DELETE FROM platforms WHERE id = ?1 OR name NOT IN (SELECT name FROM names)", id); err != nil {
			return err
		}
		if _, err := tx.Exec("UPDATE configs SET kind = 'step' WHERE id = ?", id); err != nil {
			return err
		}
		if _, err := tx.Exec("DELETE FROM derived WHERE source = ?", id); err != nil { // how it was packed, what was attested
			return err
		}
		removed[id] = true
	}
	steps, err := dropSteps(tx, cut.used)
	if err != nil {
		return err
	}
	for _, id := range steps {
		if _, err := tx.Exec("DELETE FROM manifests WHERE id = ?", id); err != nil {
			return err
		}
		if removed[id] {
			p.Images = append(p.Images, id)
		} else {
			p.Steps = append(p.Steps, id)
		}
	}
	if !cut.alone {
		return nil
	}
	_, err = tx.Exec("DELETE FROM manifests WHERE id = '' AND digest NOT IN (SELECT manifest FROM names UNION SELECT manifest FROM platforms)")
	return err
}

// dropSteps removes the steps that are not on the way to an image any more, and returns their IDs.
func dropSteps(tx *sql.Tx, cutoff int64) ([]digest.Digest, error) {
	return db.Column[digest.Digest](tx.Query(`WITH RECURSIVE kept (id) AS (
			SELECT id FROM configs WHERE kind != 'step' OR used >= ?1
			UNION SELECT parent FROM configs JOIN kept USING (id) WHERE parent != '')
		DELETE FROM configs WHERE kind = 'step' AND id NOT IN (SELECT id FROM kept) RETURNING id`, cutoff))
}

// pruneRecords drops records: all of them, or those whose layer no image has.
func (c *Collector) pruneRecords(o Options, cut cutoffs, p *Pruned) error {
	cutoff := min(cut.used, cut.added)
	return c.decide(cut, func(tx *sql.Tx) error {
		kept := map[digest.Digest]bool{}
		if !o.All {
			var err error
			if kept, err = layersOfConfigs(tx); err != nil {
				return err
			}
		}
		type record struct{ key, layer digest.Digest }
		rows, err := tx.Query("SELECT key, layer FROM records WHERE used < ?1 AND made < ?1", cutoff)
		old, err := db.Rows(rows, err, func(rows *sql.Rows) (r record, err error) {
			err = rows.Scan(&r.key, &r.layer)
			return r, err
		})
		if err != nil {
			return err
		}
		var only map[digest.Digest]bool
		if o.Only != nil {
			only = map[digest.Digest]bool{}
			for _, key := range o.Only.Records {
				only[key] = true
			}
		}
		var gone []digest.Digest
		for _, r := range old {
			if only != nil && !only[r.key] {
				continue
			}
			if o.All || r.layer != "" && !kept[r.layer] {
				gone = append(gone, r.key)
			}
		}
		return p.deleteRecords(tx, gone, cutoff)
	})
}

// layersOfConfigs returns the diffIDs that all configs are made of.
func layersOfConfigs(tx *sql.Tx) (map[digest.Digest]bool, error) {
	rows, err := tx.Query("SELECT id, data FROM configs")
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

// pruneMounts removes the cache mounts that nobody used since cutoff and nobody uses.
func (c *Collector) pruneMounts(o Options, cutoff int64, p *Pruned) error {
	all, err := c.mounts.CacheMounts()
	if err != nil {
		return err
	}
	for _, u := range all {
		if u.Used.UnixMilli() < cutoff && (o.Only == nil || slices.Contains(o.Only.Mounts, u.ID)) {
			if err := c.removeMount(u, p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Collector) removeMount(u mounts.Use, p *Pruned) error {
	removed, err := c.mounts.Remove(u)
	if removed {
		p.Mounts++
		p.Freed += u.Disk
	}
	return err
}

// pruneKept removes what only saves time or traffic.
func (c *Collector) pruneKept(cutoff int64, p *Pruned) error {
	for _, dir := range c.kept.Folders() {
		if err := eachEntry(dir, cutoff, func(path string) error { return c.removeKept(path, p) }); err != nil {
			return err
		}
	}
	return nil
}

func (c *Collector) removeKept(path string, p *Pruned) error {
	freed, err := c.kept.Remove(path)
	p.Freed += freed
	return err
}
