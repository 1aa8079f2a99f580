package store

import (
	"database/sql"
	"encoding/json"
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
	// Text is the same for all records whose instructions say the same; "" is like no other.
	Text string
}

// PutRecord keeps a record, replacing the one under the same key.
func (s *Store) PutRecord(r Record) error {
	err := s.inTx(func(tx *sql.Tx) error {
		_, err := tx.Exec(`INSERT INTO records (key, layer, data, made, used) VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET
			layer = excluded.layer, data = excluded.data, made = excluded.made, used = max(used, excluded.used)`,
			r.Key, r.Layer, r.Data, r.Made.UnixMilli(), now())
		if err != nil {
			return err
		}
		_, err = tx.Exec("INSERT OR REPLACE INTO seen (key, text, made) VALUES (?, ?, ?)", r.Key, r.Text, r.Made.UnixMilli())
		return err
	})
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
	err := s.db.QueryRow(`UPDATE records SET used = max(used, ?1) WHERE key = ?2
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

// Use notes that records are used now, all at the same time: so of those that one build used, none counts as older
// than those that were built on it.
func (s *Store) Use(keys ...digest.Digest) error {
	if len(keys) == 0 {
		return nil
	}
	list, err := json.Marshal(keys)
	if err == nil {
		_, err = s.db.Exec("UPDATE records SET used = ? WHERE key IN (SELECT value FROM json_each(?))", now(), string(list))
	}
	if err != nil {
		return fmt.Errorf("noting the use of records: %w", err)
	}
	return nil
}

// PeekRecord returns the record of a key for somebody who only looks at it: it counts as no use, and its layer
// need not be there. ErrNotFound if there is none.
func (s *Store) PeekRecord(key digest.Digest) (*Record, error) {
	r := &Record{Key: key}
	var made int64
	err := s.db.QueryRow("SELECT layer, data, made FROM records WHERE key = ?", key).Scan(&r.Layer, &r.Data, &made)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("record %s: %w", key, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("reading a record of the cache: %w", err)
	}
	r.Made = time.UnixMilli(made)
	return r, nil
}

// RecordsLike returns up to limit of the records with a text, those made last first.
func (s *Store) RecordsLike(text string, limit int) ([]Record, error) {
	rows, err := s.db.Query(`SELECT key, layer, data, records.made FROM seen JOIN records USING (key)
		WHERE text = ? AND text != '' ORDER BY seen.made DESC LIMIT ?`, text, limit)
	if err != nil {
		return nil, fmt.Errorf("looking for records of the cache: %w", err)
	}
	defer rows.Close()
	var like []Record
	for rows.Next() {
		r := Record{Text: text}
		var made int64
		if err := rows.Scan(&r.Key, &r.Layer, &r.Data, &made); err != nil {
			return nil, fmt.Errorf("looking for records of the cache: %w", err)
		}
		r.Made = time.UnixMilli(made)
		like = append(like, r)
	}
	return like, rows.Err()
}

// maxPruned is how many of the records that were pruned are remembered, in about 200 bytes each.
const maxPruned = 10_000

// PrunedAt returns when the record of a key was pruned; the zero time if it is here, or was never seen.
func (s *Store) PrunedAt(key digest.Digest) (time.Time, error) {
	var at int64
	err := s.db.QueryRow("SELECT pruned FROM seen WHERE key = ? AND pruned > 0", key).Scan(&at)
	if errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("looking for a pruned record: %w", err)
	}
	return time.UnixMilli(at), nil
}

// forgetPruned keeps the number of remembered records within bounds.
func forgetPruned(tx *sql.Tx) error {
	_, err := tx.Exec("DELETE FROM seen WHERE pruned > 0 AND pruned < (SELECT pruned FROM seen WHERE pruned > 0 ORDER BY pruned DESC LIMIT 1 OFFSET ?)", maxPruned-1)
	return err
}
