package store

import (
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
)

// Record is what the cache keeps under a key, as the store sees it: Data belongs to package cache.
type Record struct {
	Key   digest.Digest
	Layer digest.Digest // the diffID that the step made, "" if it made none
	Data  []byte
	Made  time.Time
}

// PutRecord keeps a record, replacing the one under the same key.
func (s *Store) PutRecord(r Record) error {
	_, err := s.db.Exec("INSERT OR REPLACE INTO records (key, layer, data, made, used) VALUES (?, ?, ?, ?, ?)",
		r.Key, r.Layer, r.Data, r.Made.UnixMilli(), now())
	if err != nil {
		return fmt.Errorf("storing the record of a step: %w%s", err, hint(err))
	}
	return nil
}

// Record looks up a key and notes that the record and its layer are used now, both in one statement, so
// that a prune beside it either leaves them or took them before. ErrNotFound if there is none or its
// layer is gone.
func (s *Store) Record(key digest.Digest) (*Record, error) {
	r := &Record{Key: key}
	var made int64
	err := s.db.QueryRow(`UPDATE records SET used = ?1 WHERE key = ?2
		AND (layer = '' OR EXISTS (SELECT 1 FROM layers WHERE diff_id = layer)) RETURNING layer, data, made`, now(), key).
		Scan(&r.Layer, &r.Data, &made)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("record %s: %w", key, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("looking up a step in the cache: %w", err)
	}
	r.Made = time.UnixMilli(made)
	return r, nil
}
