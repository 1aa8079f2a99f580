package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/strata-build/strata/test/testbed"
)

// manyBuilds is how many builds the full store remembers, each with the records and configs of stepsOfBuild steps.
const (
	manyBuilds   = 10_000
	stepsOfBuild = 7
)

// full is a store that remembers many builds of the lesson's app.
type full struct {
	strata  *strata
	context string
}

// fillStore makes a full store: the app is built once, and what the store has of that is written manyBuilds
// times more, under keys and IDs of its own.
func fillStore(ctx context.Context, s *strata, work string) (*full, error) {
	root, err := testbed.Root()
	if err != nil {
		return nil, err
	}
	f := &full{
		strata:  &strata{binary: s.binary, base: s.base, root: filepath.Join(work, "full")},
		context: filepath.Join(root, "examples", "lesson-app"),
	}
	if err := f.strata.forget(ctx, ""); err != nil {
		return nil, err
	}
	if err := run(f.strata.build(ctx, f.scenario())); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", filepath.Join(f.strata.root, "meta.db"))
	if err != nil {
		return nil, err
	}
	defer db.Close()
	for table, key := range map[string]string{"records": "key", "configs": "id", "seen": "key", "builds": "id"} {
		if err := multiply(ctx, db, table, key); err != nil {
			return nil, fmt.Errorf("filling the table %s: %w", table, err)
		}
	}
	// The first build forgets those that are too many, and what was written is moved to the database.
	return f, run(f.strata.build(ctx, f.scenario()))
}

// multiply writes some rows of a table manyBuilds times, with other ends of the key.
func multiply(ctx context.Context, db *sql.DB, table, key string) error {
	rows, err := db.QueryContext(ctx, "SELECT name FROM pragma_table_info(?) WHERE name NOT IN (?, 'seq')", table, key)
	if err != nil {
		return err
	}
	defer rows.Close()
	var columns []string
	for rows.Next() {
		var c string
		if err := rows.Scan(&c); err != nil {
			return err
		}
		columns = append(columns, c)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	others := strings.Join(columns, ", ")
	_, err = db.ExecContext(ctx, fmt.Sprintf(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %[1]d)
		INSERT INTO %[2]s (%[3]s, %[4]s) SELECT substr(%[3]s, 1, length(%[3]s) - 5) || printf('%%05x', i), %[4]s FROM (SELECT * FROM %[2]s LIMIT %[5]d), n
		WHERE substr(%[3]s, -5) != printf('%%05x', i)`, manyBuilds, table, key, others, stepsOfBuild))
	return err
}

// scenario is an unchanged build in the full store.
func (f *full) scenario() *scenario {
	return &scenario{name: "lesson app, nothing changed, 10,000 builds in the store", reach: 30 * time.Millisecond, context: f.context, by: f.strata,
		limit: processStart(f.strata.binary, "--version")}
}

// size is that of the full store's database in bytes.
func (f *full) size() int64 {
	st, err := os.Stat(filepath.Join(f.strata.root, "meta.db"))
	if err != nil {
		return 0
	}
	return st.Size()
}
