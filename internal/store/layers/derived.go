package layers

import (
	"database/sql"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store/db"
)

// Derived is what was made of a layer for others, a compressed form or another layer, or of an image, its manifest.
type Derived struct {
	Digest digest.Digest // of the blob, or the other layer's diffID
	Data   []byte        // what else whoever made it wants to know
}

// PutDerived remembers that how made d of the layer source. how says all that decides the result, "zstd level 19".
func (ls *Layers) PutDerived(source digest.Digest, how string, d Derived) error {
	_, err := ls.db.Exec("INSERT OR REPLACE INTO derived (source, how, result, data) VALUES (?, ?, ?, ?)", source, how, d.Digest, d.Data)
	if err != nil {
		return fmt.Errorf("noting what was made of layer %s: %w", source, err)
	}
	return nil
}

// RemoveDerived forgets what how made of source, if anything.
func (ls *Layers) RemoveDerived(source digest.Digest, how string) error {
	if _, err := ls.db.Exec("DELETE FROM derived WHERE source = ? AND how = ?", source, how); err != nil {
		return fmt.Errorf("forgetting what was made of %s: %w", source, err)
	}
	return nil
}

// Derived returns what was made of a layer; db.ErrNotFound if nothing was. It may be gone since; if
// it is a layer that is not, that counts as used now.
func (ls *Layers) Derived(source digest.Digest, how string) (Derived, error) {
	var d Derived
	err := ls.db.Tx(func(tx *sql.Tx) error {
		err := tx.QueryRow("SELECT result, data FROM derived WHERE source = ? AND how = ?", source, how).Scan(&d.Digest, &d.Data)
		if err != nil {
			return err
		}
		_, err = tx.Exec("UPDATE layers SET used = ? WHERE diff_id = ?", db.Now(), d.Digest)
		return err
	})
	if errors.Is(err, sql.ErrNoRows) {
		return d, fmt.Errorf("%s of layer %s: %w", how, source, db.ErrNotFound)
	}
	if err != nil {
		return d, fmt.Errorf("looking up what was made of layer %s: %w", source, err)
	}
	return d, nil
}

// DerivedData returns what is known of a blob or layer from its making; nil if it was not made of another.
func (ls *Layers) DerivedData(result digest.Digest) ([]byte, error) {
	var data []byte
	err := ls.db.QueryRow("SELECT data FROM derived WHERE result = ? LIMIT 1", result).Scan(&data)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("looking up how %s was made: %w", result, err)
	}
	return data, nil
}

// DerivedOf returns all that was made of a layer, by how it was made.
func (ls *Layers) DerivedOf(source digest.Digest) (map[string]digest.Digest, error) {
	rows, err := ls.db.Query("SELECT how, result FROM derived WHERE source = ?", source)
	if err != nil {
		return nil, fmt.Errorf("looking up what was made of layer %s: %w", source, err)
	}
	defer rows.Close()
	all := map[string]digest.Digest{}
	for rows.Next() {
		var how string
		var d digest.Digest
		if err := rows.Scan(&how, &d); err != nil {
			return nil, fmt.Errorf("looking up what was made of layer %s: %w", source, err)
		}
		all[how] = d
	}
	return all, rows.Err()
}
