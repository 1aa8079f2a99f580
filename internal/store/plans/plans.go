// Package plans remembers, for each build that is made again and again, which records and configs it used last. The
// next such build reads them all at once, and notes in one row that it uses them, instead of a statement and a row
// for each.
//
// What a build is told is what the tables records and configs have: the rows are read when it begins, and from then
// on no prune takes them.
package plans

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store/db"
)

// Plans is the table of what builds used last.
type Plans struct{ db *db.DB }

// New opens the plans of a store.
func New(d *db.DB) *Plans { return &Plans{db: d} }

// maxPlans is how many plans are remembered. One takes 150 bytes for each step.
const maxPlans = 1000

// Row is the row of a record.
type Row struct {
	Layer digest.Digest
	Data  []byte
	Made  int64 // milliseconds since 1970
}

// Held is what a build with a name uses, for as long as it runs. The methods of nil know nothing. They may be called
// from several goroutines.
type Held struct {
	plans  *Plans
	name   string
	since  int64 // when it began to hold
	shared bool  // another build may hold the same

	mu      sync.Mutex
	records map[digest.Digest]Row  // nil once forgotten
	configs map[digest.Digest]bool // by ID, whether it has a parent
	// What this build uses.
	usedRecords, usedConfigs map[digest.Digest]bool
	kept                     bool
}

// Hold notes that a build uses from now on what the last one with the same name used, and reads it. The process must
// have begun its session.
func (p *Plans) Hold(name string) (*Held, error) {
	h := &Held{plans: p, name: digest.FromString(name).Encoded(), records: map[digest.Digest]Row{}, configs: map[digest.Digest]bool{},
		usedRecords: map[digest.Digest]bool{}, usedConfigs: map[digest.Digest]bool{}}
	var records, configs string
	err := p.db.Tx(func(tx *sql.Tx) error {
		h.since = db.Now()
		var held int64
		err := tx.QueryRow("SELECT records, configs, held, held > used FROM plans WHERE name = ?", h.name).Scan(&records, &configs, &held, &h.shared)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		h.since = max(h.since, held+1) // nobody else's
		if err == nil {
			_, err = tx.Exec("UPDATE plans SET held = ? WHERE name = ?", h.since, h.name)
		}
		return err
	})
	if err == nil && records != "" {
		err = errors.Join(h.readRecords(records), h.readConfigs(configs))
	}
	if err != nil {
		return nil, fmt.Errorf("looking up what the last build used: %w", p.db.Explain(err))
	}
	return h, nil
}

// readRecords reads the records that can be hits: see records.Record.
func (h *Held) readRecords(keys string) error {
	rows, err := h.plans.db.Query(`SELECT key, layer, data, made FROM records WHERE key IN (SELECT value FROM json_each(?))
		AND (layer = '' OR EXISTS (SELECT 1 FROM layers WHERE diff_id = layer))`, keys)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var key digest.Digest
		var r Row
		if err := rows.Scan(&key, &r.Layer, &r.Data, &r.Made); err != nil {
			return err
		}
		h.records[key] = r
	}
	return rows.Err()
}

func (h *Held) readConfigs(ids string) error {
	rows, err := h.plans.db.Query("SELECT id, parent != '' FROM configs WHERE id IN (SELECT value FROM json_each(?))", ids)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id digest.Digest
		var hasParent bool
		if err := rows.Scan(&id, &hasParent); err != nil {
			return err
		}
		h.configs[id] = hasParent
	}
	return rows.Err()
}

// Record returns the row of a record if the last build used it, and notes that this one does.
func (h *Held) Record(key digest.Digest) (r Row, ok bool) {
	if h == nil {
		return r, false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if r, ok = h.records[key]; ok {
		h.usedRecords[key] = true
	}
	return r, ok
}

// UseRecord notes that the build uses a record that was looked up or made in the store itself.
func (h *Held) UseRecord(key digest.Digest) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.usedRecords[key] = true
}

// HasConfig says that the store has a config, which the last build used, so that putting it there as a step's with a
// parent would change nothing but the time of its use, which is noted.
func (h *Held) HasConfig(id, parent digest.Digest) bool {
	if h == nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	hasParent, ok := h.configs[id]
	if !ok || parent != "" && !hasParent {
		return false
	}
	h.usedConfigs[id] = true
	return true
}

// UseConfig notes that the build uses a config that was put into the store itself.
func (h *Held) UseConfig(id digest.Digest) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.usedConfigs[id] = true
}

// Forget has records looked up in the store itself from now on: something is not as it was when the build began.
func (h *Held) Forget() {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.records = nil
}

// Kept says that Keep has noted what the build used.
func (h *Held) Kept() bool {
	if h == nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.kept
}

// Keep notes, as a part of a transaction, what the build used: all at the same time, so that of those that one build
// used, none counts as older than those that were built on it. Of a build that used what the last one did, nothing else
// is worth waiting for the disk.
func (h *Held) Keep(tx *sql.Tx) error {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	records, err := list(h.usedRecords)
	if err != nil {
		return err
	}
	configs, err := list(h.usedConfigs)
	if err != nil {
		return err
	}
	now := db.Now()
	same, err := tx.Exec("UPDATE plans SET used = ?1, held = ?1 WHERE name = ?2 AND records = ?3 AND configs = ?4", now, h.name, records, configs)
	if err != nil {
		return err
	}
	h.kept = true
	if n, err := same.RowsAffected(); err != nil || n > 0 {
		h.plans.db.Spare()
		return err
	}
	// What the last build used and this one does not is used no more, unless another build holds it.
	if err := spread(tx, "used", "name = ?", h.name); err != nil {
		return err
	}
	if err := spread(tx, "held", "name = ? AND held > used AND (? OR held != ?)", h.name, h.shared, h.since); err != nil {
		return err
	}
	if _, err := tx.Exec("INSERT OR REPLACE INTO plans (name, used, held, spread, records, configs) VALUES (?1, ?2, ?2, 0, ?3, ?4)",
		h.name, now, records, configs); err != nil {
		return err
	}
	old := "name IN (SELECT name FROM plans ORDER BY used DESC LIMIT -1 OFFSET ?)"
	if err := spread(tx, "max(used, held)", old, maxPlans); err != nil {
		return err
	}
	_, err = tx.Exec("DELETE FROM plans WHERE "+old, maxPlans)
	return err
}

// Drop says, as a part of a transaction, that the build holds nothing any more and used nothing of it.
func (h *Held) Drop(tx *sql.Tx) error {
	if h == nil || h.shared {
		return nil
	}
	_, err := tx.Exec("UPDATE plans SET held = used WHERE name = ? AND held = ?", h.name, h.since)
	return err
}

// list is a set as a JSON array in order.
func list(set map[digest.Digest]bool) (string, error) {
	data, err := json.Marshal(append([]digest.Digest{}, slices.Sorted(maps.Keys(set))...))
	return string(data), err
}

// Spread notes in the records and configs themselves, as the first part of a transaction that decides on them, when
// builds used them last. oldest is when the longest-running process began: what was held before, by a build that did
// not come to use it, is held no more.
func Spread(tx *sql.Tx, oldest int64) error {
	if err := spread(tx, "used", "used != spread"); err != nil {
		return err
	}
	if _, err := tx.Exec("UPDATE plans SET spread = used WHERE used != spread"); err != nil {
		return err
	}
	return spread(tx, "held", "held > used AND held >= ?", oldest)
}

// spread notes a time of the plans that meet a condition as that of the last use of their records and configs.
func spread(tx *sql.Tx, column, condition string, args ...any) error {
	type plan struct {
		at               int64
		records, configs string
	}
	rows, err := tx.Query("SELECT "+column+", records, configs FROM plans WHERE "+condition, args...)
	all, err := db.Rows(rows, err, func(rows *sql.Rows) (p plan, err error) {
		err = rows.Scan(&p.at, &p.records, &p.configs)
		return p, err
	})
	for _, p := range all {
		for _, t := range []struct{ table, key, members string }{{"records", "key", p.records}, {"configs", "id", p.configs}} {
			if err == nil {
				_, err = tx.Exec("UPDATE "+t.table+" SET used = ?1 WHERE used < ?1 AND "+t.key+" IN (SELECT value FROM json_each(?2))", p.at, t.members)
			}
		}
	}
	return err
}

// Uses returns when builds last used records and configs, by key and ID in milliseconds since 1970, as far as that
// may not stand in their rows.
func (p *Plans) Uses() (map[digest.Digest]int64, error) {
	rows, err := p.db.Query(`SELECT value, max(used) FROM (SELECT value, used FROM plans, json_each(plans.records)
		UNION ALL SELECT value, used FROM plans, json_each(plans.configs)) GROUP BY value`)
	if err != nil {
		return nil, fmt.Errorf("looking up what builds used: %w", err)
	}
	defer rows.Close()
	uses := map[digest.Digest]int64{}
	for rows.Next() {
		var of digest.Digest
		var used int64
		if err := rows.Scan(&of, &used); err != nil {
			return nil, fmt.Errorf("looking up what builds used: %w", err)
		}
		uses[of] = used
	}
	return uses, rows.Err()
}
