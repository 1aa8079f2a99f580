package images

import (
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store/db"
)

// Parents returns the IDs of all images and steps that others were made from.
func (im *Images) Parents() (map[digest.Digest]bool, error) {
	ids, err := im.ids("SELECT DISTINCT parent FROM configs WHERE parent != '' AND kind != 'failed'")
	if err != nil {
		return nil, fmt.Errorf("listing what images were built on: %w", err)
	}
	parents := make(map[digest.Digest]bool, len(ids))
	for _, id := range ids {
		parents[id] = true
	}
	return parents, nil
}

// Children returns the IDs of the images and steps that were made from id, images first.
func (im *Images) Children(id digest.Digest) ([]digest.Digest, error) {
	ids, err := im.ids("SELECT id FROM configs WHERE parent = ? AND kind != 'failed' ORDER BY kind, added", id)
	if err != nil {
		return nil, fmt.Errorf("listing what was built on %s: %w", id, err)
	}
	return ids, nil
}

func (im *Images) ids(query string, args ...any) ([]digest.Digest, error) {
	return db.Column[digest.Digest](im.db.Query(query, args...))
}
