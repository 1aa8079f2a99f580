// Package records keeps what the cache knows: a record for each step that ran, which records there
// ever were, and what became of past builds. What a record and a build say belongs to packages
// cache and explain.
package records

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store/db"
	"github.com/strata-build/strata/internal/store/plans"
)

// Records are the records of a store: the tables records, seen and builds.
type Records struct {
	db   *db.DB
	held *plans.Held // what a build of which this is the view holds, nil of others
}

// New opens the records of a store.
func New(d *db.DB) *Records { return &Records{db: d} }

// WithHeld returns the same records for a build that holds what the last one used.
func (rs *Records) WithHeld(h *plans.Held) *Records {
	view := *rs
	view.held = h
	return &view
}

// ForgetHeld has the build of a view look up in the store itself what it held.
func (rs *Records) ForgetHeld() { rs.held.Forget() }

// Record is what the cache keeps under a key, as the store sees it: Data belongs to package cache.
type Record struct {
	Key   digest.Digest
	Layer digest.Digest // the diffID that the step made, "" if it made none
	Data  []byte
	Made  time.Time
	// Text is the same for all records whose instructions say the same; "" is like no other.
	Text string
	// Weak is the weak key by which the record is a candidate; "" if it is none.
	Weak digest.Digest
}

// PutRecord keeps a record, replacing the one under the same key. Its data, which is a JSON object, gets a seal.
func (rs *Records) PutRecord(r Record) error {
	rs.held.Forget()
	err := rs.db.Tx(func(tx *sql.Tx) error {
		_, err := tx.Exec(`INSERT INTO records (key, layer, data, made, used) VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET
			layer = excluded.layer, data = excluded.data, made = excluded.made, used = max(used, excluded.used)`,
			r.Key, r.Layer, withSeal(r.Key, r.Data), r.Made.UnixMilli(), db.Now())
		if err != nil {
			return err
		}
		_, err = tx.Exec("INSERT OR REPLACE INTO seen (key, text, made) VALUES (?, ?, ?)", r.Key, r.Text, r.Made.UnixMilli())
		if err == nil && r.Weak != "" {
			_, err = tx.Exec("INSERT OR REPLACE INTO observed (weak, key, used) VALUES (?, ?, ?)", r.Weak, r.Key, db.Now())
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("storing the record of a step: %w", rs.db.Explain(err))
	}
	rs.held.UseRecord(r.Key)
	return nil
}

// Record looks up a key and notes that the record and its layer are used now, both in one statement, so
// that a prune beside it either leaves them or took them before. db.ErrNotFound if there is none or its
// layer is gone. A build that holds the record has read and noted that before.
func (rs *Records) Record(key digest.Digest) (*Record, error) {
	if row, ok := rs.held.Record(key); ok {
		return &Record{Key: key, Layer: row.Layer, Data: row.Data, Made: time.UnixMilli(row.Made)}, nil
	}
	r := &Record{Key: key}
	var made int64
	err := rs.db.QueryRow(`UPDATE records SET used = max(used, ?1) WHERE key = ?2
		AND (layer = '' OR EXISTS (SELECT 1 FROM layers WHERE diff_id = layer)) RETURNING layer, data, made`, db.Now(), key).
		Scan(&r.Layer, &r.Data, &made)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("record %s: %w", key, db.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("looking up a step in the cache: %w", rs.db.Explain(err))
	}
	r.Made = time.UnixMilli(made)
	rs.held.UseRecord(key)
	return r, nil
}

// Use notes that records are used now, all at the same time: so of those that one build used, none counts as older
// than those that were built on it. What a build holds was noted with the build itself.
func (rs *Records) Use(keys ...digest.Digest) error {
	if len(keys) == 0 || rs.held.Kept() {
		return nil
	}
	list, err := json.Marshal(keys)
	if err == nil {
		_, err = rs.db.Exec("UPDATE records SET used = ? WHERE key IN (SELECT value FROM json_each(?))", db.Now(), string(list))
	}
	if err != nil {
		return fmt.Errorf("noting the use of records: %w", err)
	}
	return nil
}

// PeekRecord returns the record of a key for somebody who only looks at it: it counts as no use, and its layer
// need not be there. db.ErrNotFound if there is none.
func (rs *Records) PeekRecord(key digest.Digest) (*Record, error) {
	r := &Record{Key: key}
	var made int64
	err := rs.db.QueryRow("SELECT layer, data, made FROM records WHERE key = ?", key).Scan(&r.Layer, &r.Data, &made)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("record %s: %w", key, db.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("reading a record of the cache: %w", err)
	}
	r.Made = time.UnixMilli(made)
	return r, nil
}

// RecordsLike returns up to limit of the records with a text, those made last first.
func (rs *Records) RecordsLike(text string, limit int) ([]Record, error) {
	rows, err := rs.db.Query(`SELECT key, layer, data, records.made FROM seen JOIN records USING (key)
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

// Candidates returns up to limit records with a weak key whose layers are known, those made or used last first. It
// counts as no use.
func (rs *Records) Candidates(weak digest.Digest, limit int) ([]Record, error) {
	rows, err := rs.db.Query(`SELECT key, layer, data, made FROM observed JOIN records USING (key)
		WHERE weak = ? AND (layer = '' OR EXISTS (SELECT 1 FROM layers WHERE diff_id = layer))
		ORDER BY observed.used DESC LIMIT ?`, weak, limit)
	if err != nil {
		return nil, fmt.Errorf("looking for what a step has read: %w", rs.db.Explain(err))
	}
	defer rows.Close()
	var all []Record
	for rows.Next() {
		r := Record{Weak: weak}
		var made int64
		if err := rows.Scan(&r.Key, &r.Layer, &r.Data, &made); err != nil {
			return nil, fmt.Errorf("looking for what a step has read: %w", rs.db.Explain(err))
		}
		r.Made = time.UnixMilli(made)
		all = append(all, r)
	}
	return all, rows.Err()
}

// UseCandidate notes that a record was a hit under its weak key.
func (rs *Records) UseCandidate(weak, key digest.Digest) error {
	err := rs.db.Tx(func(tx *sql.Tx) error {
		_, err := tx.Exec("UPDATE observed SET used = ?1 WHERE weak = ?2 AND key = ?3", db.Now(), weak, key)
		if err == nil {
			_, err = tx.Exec("UPDATE records SET used = max(used, ?1) WHERE key = ?2", db.Now(), key)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("noting the use of a record: %w", rs.db.Explain(err))
	}
	return nil
}

// RecordsOf returns the records whose steps made a layer, those made last first. It counts as no use.
func (rs *Records) RecordsOf(layer digest.Digest) ([]Record, error) {
	rows, err := rs.db.Query("SELECT key, data, made FROM records WHERE layer = ? ORDER BY made DESC", layer)
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
