package store

import (
	"database/sql"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// Parents returns the IDs of all images and steps that others were made from.
func (s *Store) Parents() (map[digest.Digest]bool, error) {
	ids, err := s.ids("SELECT DISTINCT parent FROM configs WHERE parent != '' AND kind != 'failed'")
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
func (s *Store) Children(id digest.Digest) ([]digest.Digest, error) {
	ids, err := s.ids("SELECT id FROM configs WHERE parent = ? AND kind != 'failed' ORDER BY kind, added", id)
	if err != nil {
		return nil, fmt.Errorf("listing what was built on %s: %w", id, err)
	}
	return ids, nil
}

func (s *Store) ids(query string, args ...any) ([]digest.Digest, error) {
	return column[digest.Digest](s.db.Query(query, args...))
}

// column reads the only column of a query's rows, which it closes.
func column[T any](rows *sql.Rows, err error) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		var v T
		if err := rows.Scan(&v); err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}
