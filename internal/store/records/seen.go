package records

import (
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store/db"
)

// maxPruned is how many of the records that were pruned are remembered, in about 200 bytes each.
const maxPruned = 10_000

// PrunedAt returns when the record of a key was pruned; the zero time if it is here, or was never seen.
func (rs *Records) PrunedAt(key digest.Digest) (time.Time, error) {
	var at int64
	err := rs.db.QueryRow("SELECT pruned FROM seen WHERE key = ? AND pruned > 0", key).Scan(&at)
	if errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("looking for a pruned record: %w", err)
	}
	return time.UnixMilli(at), nil
}

// Delete drops records that nobody used since cutoff, in milliseconds since 1970, remembers when,
// and returns how many those were.
func Delete(tx *sql.Tx, keys []digest.Digest, cutoff int64) (deleted int, err error) {
	for _, key := range keys {
		r, err := tx.Exec("DELETE FROM records WHERE key = ? AND used < ?", key, cutoff)
		if err != nil {
			return deleted, err
		}
		if n, _ := r.RowsAffected(); n == 0 {
			continue
		}
		deleted++
		if _, err := tx.Exec("DELETE FROM observed WHERE key = ?", key); err != nil {
			return deleted, err
		}
		if _, err := tx.Exec("UPDATE seen SET pruned = ? WHERE key = ?", db.Now(), key); err != nil {
			return deleted, err
		}
	}
	return deleted, forgetPruned(tx)
}

// forgetPruned keeps the number of remembered records within bounds.
func forgetPruned(tx *sql.Tx) error {
	_, err := tx.Exec("DELETE FROM seen WHERE pruned > 0 AND pruned < (SELECT pruned FROM seen WHERE pruned > 0 ORDER BY pruned DESC LIMIT 1 OFFSET ?)", maxPruned-1)
	return err
}
