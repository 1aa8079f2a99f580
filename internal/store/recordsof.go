package store

import (
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
)

// RecordsOf returns the records whose steps made a layer, those made last first. It counts as no use.
func (s *Store) RecordsOf(layer digest.Digest) ([]Record, error) {
	rows, err := s.db.Query("SELECT key, data, made FROM records WHERE layer = ? ORDER BY made DESC", layer)
	if err != nil {
		return nil, fmt.Errorf("looking for the record of a layer: %w", err)
	}
	defer rows.Close()
	var all []Record
	for rows.Next() {
		r := Record{Layer: layer}
		var made int64
		if err := rows.Scan(&r.Key, &r.Data, &made); err != nil {
			return nil, fmt.Errorf("looking for the record of a layer: %w", err)
		}
		r.Made = time.UnixMilli(made)
		all = append(all, r)
	}
	return all, rows.Err()
}
