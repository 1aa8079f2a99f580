// Package images keeps the configs of images and of the steps on the way to them, the names and
// platforms by which images are found, and their manifests.
package images

import (
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store/db"
	"github.com/strata-build/strata/internal/store/plans"
)

// Images are the images of a store: the tables configs, names, platforms and manifests.
type Images struct {
	db   *db.DB
	held *plans.Held // what a build of which this is the view holds, nil of others
}

// New opens the images of a store.
func New(d *db.DB) *Images { return &Images{db: d} }

// WithHeld returns the same images for a build that holds what the last one used.
func (im *Images) WithHeld(h *plans.Held) *Images {
	view := *im
	view.held = h
	return &view
}

// Kind says what a config stands for.
type Kind string

// An image is what a build, pull, load or import gave. A step is a state on the way to one. A failed step's
// state is kept so that it can be entered.
const (
	Image  Kind = "image"
	Step   Kind = "step"
	Failed Kind = "failed"
)

// Config is an image config in the store. Its ID, the digest of Data, is the image's ID or the step's.
type Config struct {
	ID     digest.Digest
	Parent digest.Digest // the step or image that it was made from, "" where it came from elsewhere
	Kind   Kind
	Data   []byte
	Added  time.Time
}

// PutConfig adds a config, or raises the kind of one that is there from step to image.
func (im *Images) PutConfig(data []byte, parent digest.Digest, kind Kind) (digest.Digest, error) {
	id := digest.FromBytes(data)
	// An image may have been removed since it was read: then it is one again.
	if kind != Image && im.held.HasConfig(id, parent) {
		return id, nil
	}
	now := db.Now()
	var added int64
	err := im.db.QueryRow(`INSERT INTO configs (id, parent, kind, data, added, used) VALUES (?1, ?2, ?3, ?4, ?5, ?5)
		ON CONFLICT (id) DO UPDATE SET used = ?5, parent = CASE WHEN parent = '' THEN ?2 ELSE parent END,
		kind = CASE WHEN ?3 = 'image' THEN 'image' ELSE kind END RETURNING added`, id, parent, kind, data, now).Scan(&added)
	if err != nil {
		return "", fmt.Errorf("storing config %s: %w", id, im.db.Explain(err))
	}
	if added == now && kind == Image {
		im.db.Promise()
	}
	im.held.UseConfig(id)
	return id, nil
}

// Config returns a config by its ID; db.ErrNotFound if there is none.
func (im *Images) Config(id digest.Digest) (*Config, error) {
	c := &Config{ID: id}
	var added int64
	err := im.db.QueryRow("SELECT parent, kind, data, added FROM configs WHERE id = ?", id).Scan(&c.Parent, &c.Kind, &c.Data, &added)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("config %s: %w", id, db.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("reading config %s: %w", id, err)
	}
	if got := digest.FromBytes(c.Data); got != id {
		return nil, fmt.Errorf("config %s is damaged: its digest is %s; take it away with strata system check --repair, and build or pull the image again", id, got)
	}
	c.Added = time.UnixMilli(added)
	return c, nil
}

// Configs returns all configs of a kind, those added last first. Data is included.
func (im *Images) Configs(kind Kind) ([]*Config, error) {
	rows, err := im.db.Query("SELECT id, parent, data, added FROM configs WHERE kind = ? ORDER BY added DESC", kind)
	if err != nil {
		return nil, fmt.Errorf("listing configs: %w", err)
	}
	defer rows.Close()
	var all []*Config
	for rows.Next() {
		c := &Config{Kind: kind}
		var added int64
		if err := rows.Scan(&c.ID, &c.Parent, &c.Data, &added); err != nil {
			return nil, fmt.Errorf("listing configs: %w", err)
		}
		c.Added = time.UnixMilli(added)
		all = append(all, c)
	}
	return all, rows.Err()
}

// Touch notes that configs are used now, which keeps a prune that runs beside this process off them.
func (im *Images) Touch(ids ...digest.Digest) error {
	err := im.db.Tx(func(tx *sql.Tx) error {
		for _, id := range ids {
			if _, err := tx.Exec("UPDATE configs SET used = ? WHERE id = ?", db.Now(), id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("noting the use of %v: %w", ids, err)
	}
	return nil
}
