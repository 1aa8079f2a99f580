package images

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store/db"
)

// Name is a name that an image has: "docker.io/me/app:test", or "docker.io/me/app@sha256:…" for the digest of
// the manifest by which it was pulled or pushed.
type Name struct {
	Name     string
	ID       digest.Digest
	Manifest digest.Digest // manifest or index that the name had in its registry, "" if it never was in one
	Set      time.Time
}

// SetName gives an image a name, taking it from the image, or images for several platforms, that
// had it. It returns that image's ID, or "".
func (im *Images) SetName(ref reference.Named, id, manifest digest.Digest) (before digest.Digest, err error) {
	ref = reference.TagNameOnly(ref)
	err = im.change(ref, func(tx *sql.Tx) error {
		err := tx.QueryRow("SELECT id FROM names WHERE name = ?", ref.String()).Scan(&before)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		return putName(tx, ref, id, manifest)
	})
	return before, err
}

// change runs f, which says anew what a name means, in a transaction. Where the name then means something else, that
// is promised to be on the disk when the store is closed.
func (im *Images) change(ref reference.Named, f func(*sql.Tx) error) error {
	changed := false
	err := im.db.Tx(func(tx *sql.Tx) error {
		before, err := meaning(tx, ref.String())
		if err == nil {
			err = f(tx)
		}
		if err != nil {
			return err
		}
		after, err := meaning(tx, ref.String())
		changed = !slices.Equal(before, after)
		return err
	})
	if err != nil {
		return fmt.Errorf("naming %s: %w", reference.FamiliarString(ref), err)
	}
	if changed {
		im.db.Promise()
	}
	return nil
}

// meaning is what a name means: images, each with its manifest, that for no platform in particular first.
func meaning(tx *sql.Tx, name string) ([]string, error) {
	return db.Column[string](tx.Query(`SELECT id || ' ' || manifest FROM names WHERE name = ?1
		UNION ALL SELECT * FROM (SELECT id || ' ' || manifest FROM platforms WHERE name = ?1 ORDER BY platform)`, name))
}

// Unname takes a name from the images that it means, and returns them, that for no platform in particular
// first; db.ErrNotFound if it means none.
func Unname(tx *sql.Tx, name string) ([]digest.Digest, error) {
	ids, err := db.Column[digest.Digest](tx.Query("DELETE FROM names WHERE name = ? RETURNING id", name))
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("%s: %w", name, db.ErrNotFound)
	}
	others, err := db.Column[digest.Digest](tx.Query("DELETE FROM platforms WHERE name = ? RETURNING id", name))
	return append(ids, others...), err
}

// IsHeld says whether an image has a name that keeps it, for whichever platform, or a container. Names by digest keep none
// (Docker 20.10, daemon/images/image_delete.go).
func IsHeld(tx *sql.Tx, id digest.Digest) (held bool, err error) {
	err = tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM names WHERE id = ?1 AND name NOT LIKE '%@%')
		OR EXISTS (SELECT 1 FROM platforms WHERE id = ?1 AND name NOT LIKE '%@%')
		OR EXISTS (SELECT 1 FROM containers WHERE image = ?1)`, id).Scan(&held)
	return held, err
}

// Names returns the names of an image, or of all if id is "", in the order of the names.
func (im *Images) Names(id digest.Digest) ([]Name, error) {
	return im.queryNames("SELECT name, id, manifest, set_at FROM names WHERE ?1 = '' OR id = ?1 ORDER BY name", id)
}

// queryNames reads rows of a name, an ID, a manifest and a time.
func (im *Images) queryNames(query string, id digest.Digest) ([]Name, error) {
	rows, err := im.db.Query(query, id)
	if err != nil {
		return nil, fmt.Errorf("listing names: %w", err)
	}
	defer rows.Close()
	var names []Name
	for rows.Next() {
		var n Name
		var set int64
		if err := rows.Scan(&n.Name, &n.ID, &n.Manifest, &set); err != nil {
			return nil, fmt.Errorf("listing names: %w", err)
		}
		n.Set = time.UnixMilli(set)
		names = append(names, n)
	}
	return names, rows.Err()
}
