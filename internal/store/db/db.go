// Package db opens meta.db, the store's SQLite database, and brings it to the current format. What
// the tables are for is said beside the schema; the packages beside this one own the rows.
package db

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/strata-build/strata/internal/store/disk"
)

// ErrNotFound says that the store holds no such thing.
var ErrNotFound = errors.New("not in the store")

// DB is the open database. Several processes may have it open at once.
type DB struct {
	*sql.DB
	path     string
	first    atomic.Pointer[firstPage] // of a database that this made, until it is on the disk
	promised atomic.Bool               // since the last Flush
	counts   atomic.Bool               // something was promised since it was opened
	spare    atomic.Bool               // see Spare
	before   logState                  // when it was opened
}

// logState tells whether a log was written to.
type logState struct {
	size int64
	time time.Time
}

func (d *DB) logState() logState {
	log, err := os.Stat(d.path + "-wal")
	if err != nil {
		return logState{}
	}
	return logState{log.Size(), log.ModTime()}
}

// Open opens the database in the folder root. A new one, or one of an older format, gets the tables
// that it lacks; one of a newer format is an error.
func Open(root string) (*DB, error) {
	path := filepath.Join(root, "meta.db")
	first, err := makePrivate(path)
	if err != nil {
		return nil, err
	}
	// Since WAL with synchronous=NORMAL never waits for the disk at a commit (Flush does), a power cut may lose the
	// last records but not damage the file; a killed process loses nothing
	// (sqlite.org/pragma.html#pragma_synchronous). Every transaction is an immediate one: see Tx.
	d, err := connect(path, "_pragma=journal_mode(wal)&_pragma=synchronous(normal)&_pragma=journal_size_limit(4194304)&_txlock=immediate")
	if err != nil {
		return nil, errors.Join(err, first.close())
	}
	before := d.logState()
	makeTables := d.migrate
	if first != nil {
		d.first.Store(&first)
		makeTables = d.layOut
	}
	if err := makeTables(); err != nil {
		d.Close()
		return nil, err
	}
	d.before = before
	return d, nil
}

// makePrivate keeps the database, which holds build arguments, from others, and returns the page of one that it made.
// SQLite gives its log and index the permissions of the database, which it makes with 0644 where it is not there. An
// existing one is not opened, since closing it would drop the locks of this process (fcntl(2), "Record locking").
func makePrivate(path string) (firstPage, error) {
	if _, err := os.Lstat(path); err != nil {
		if first, err := create(path); err == nil {
			return first, nil
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err == nil {
		return nil, f.Close()
	}
	if !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := disk.Tighten(path + suffix); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// layOut is migrate of a database that has no tables, and nothing that a power cut could take.
func (d *DB) layOut() error {
	_, err := d.Exec(fmt.Sprintf("PRAGMA synchronous = off; BEGIN IMMEDIATE; %s PRAGMA user_version = %d; COMMIT; PRAGMA synchronous = normal",
		schema, FormatVersion))
	if err != nil {
		return fmt.Errorf("laying out meta.db: %w", err)
	}
	return nil
}

// migrate makes the tables that are not there, and refuses a format that this strata does not know.
func (d *DB) migrate() error {
	current, err := d.isCurrent()
	if err != nil || current {
		return err
	}
	if err := d.widen(); err != nil { // first: all tables say that nothing is left to do
		return err
	}
	if _, err := d.Exec(fmt.Sprintf("BEGIN IMMEDIATE; %s PRAGMA user_version = %d; COMMIT", schema, FormatVersion)); err != nil {
		return fmt.Errorf("laying out meta.db: %w", err)
	}
	return nil
}

// widen gives the tables with large rows of an older strata a row ID, with which an older strata works as well.
func (d *DB) widen() error {
	err := d.Tx(func(tx *sql.Tx) error {
		for _, w := range widened {
			var narrow bool
			err := tx.QueryRow("SELECT count(*) > 0 FROM sqlite_master WHERE name = ? AND sql LIKE '%WITHOUT ROWID'", w.table).Scan(&narrow)
			if err == nil && narrow {
				_, err = tx.Exec(fmt.Sprintf("ALTER TABLE %[1]s RENAME TO narrow; %[3]s INSERT INTO %[1]s (%[2]s) SELECT %[2]s FROM narrow; DROP TABLE narrow; %[3]s",
					w.table, w.columns, schema))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, syscall.ENOSPC) {
		return nil // it works as it is
	}
	return err
}

// isCurrent says whether the database has all tables.
func (d *DB) isCurrent() (bool, error) {
	var version int
	var complete bool // with the tables that came after the first stores were made
	err := d.QueryRow(`SELECT user_version, (SELECT count(*) FROM sqlite_master WHERE name IN ('seen', 'derived', 'observed', 'containers', 'logs', 'plans', 'deltas')) = 7
		FROM pragma_user_version`).Scan(&version, &complete)
	switch {
	case err != nil:
		return false, fmt.Errorf("reading meta.db: %w", d.Explain(err))
	case version > FormatVersion:
		return false, fmt.Errorf("the store has format %d and this strata reads formats up to %d; use the strata that wrote it, or set STRATA_ROOT to another folder", version, FormatVersion)
	}
	return version == FormatVersion && complete, nil
}

// Tx runs f in an immediate transaction: from before its first statement on no other process can write, so what f reads
// stays true until what it decided is written. f must not use the DB itself, which would wait for it.
func (d *DB) Tx(f func(*sql.Tx) error) error {
	tx, err := d.Begin()
	if err != nil {
		return d.Explain(err)
	}
	defer tx.Rollback()
	if err := f(tx); err != nil {
		return d.Explain(err)
	}
	return d.Explain(tx.Commit())
}

// Exec runs a statement.
func (d *DB) Exec(query string, args ...any) (sql.Result, error) {
	result, err := d.DB.Exec(query, args...)
	return result, d.Explain(err)
}

// Promise notes that somebody is told of what was just written, and counts on it: the next Flush waits for the disk.
func (d *DB) Promise() {
	d.promised.Store(true)
	d.counts.Store(true)
}

// Spare says that nobody misses much if what was written since the database was opened is lost in a power cut, unless
// some of it was promised: Close does not wait for it.
func (d *DB) Spare() { d.spare.Store(true) }

// maxLog is how large a log is left at most, in bytes: whoever opens the database next reads it, 0.4 ms for a megabyte.
const maxLog = 1 << 20

// Close waits for the disk, unless all that was written is spare, and closes the database. What the log holds stays
// there: to move it to the database waits for the disk three times, and whoever writes next waits twice to begin the
// log anew. A log that has become long is moved by whoever closes the database last; so is that of a database whose
// first page is not on the disk, without which the log is worth nothing.
func (d *DB) Close() error {
	var left error
	if d.isOwed() {
		left = d.sync()
	}
	if log := d.logState(); left == nil && log.size > 0 && log.size <= maxLog && isSynced(d.path) {
		d.leaveLog()
	}
	first := d.first.Swap(nil)
	err := errors.Join(left, d.DB.Close())
	if first != nil {
		err = errors.Join(err, first.close())
	}
	if !isSynced(d.path) && isMoved(d.path) {
		noteSynced(d.path)
	}
	return err
}

// isOwed says that rows in the log are not spare and may not be on the disk. The log of a new database is moved.
func (d *DB) isOwed() bool {
	if d.promised.Load() {
		return true
	}
	spare := d.spare.Load() && !d.counts.Load()
	return !spare && d.first.Load() == nil && d.logState() != d.before
}

// Flush waits until all that was written is on the disk, if any of it was promised since the last Flush. The log is
// what may not be there yet, and the page that create made: before SQLite moves what is in the log to the database it
// waits for the log, and afterwards for the database (sqlite.org/pragma.html#pragma_synchronous, NORMAL). Where it has
// made the log, it has waited for its name in the folder too before its first rows were written (os_unix.c,
// UNIXFILE_DIRSYNC), but for one that layOut began: that name comes with the page's. Its locks are not on the log, so
// that closing that drops none.
func (d *DB) Flush() error {
	if !d.promised.Swap(false) {
		return nil
	}
	return d.sync()
}

func (d *DB) sync() error {
	if err := errors.Join(d.syncFirst(), d.syncLog()); err != nil {
		return fmt.Errorf("writing meta.db to its disk: %w", d.Explain(err))
	}
	return nil
}

// syncFirst waits for the page that create made, in this process or another one, which may have been killed since. That
// of another is not opened (firstPage), but waited for with all of its file system.
func (d *DB) syncFirst() error {
	if isSynced(d.path) {
		return nil
	}
	dir := filepath.Dir(d.path)
	var err error
	if first := d.first.Swap(nil); first != nil {
		err = errors.Join(first.sync(dir), first.close())
	} else {
		err = disk.Sync(dir)
	}
	if err == nil {
		noteSynced(d.path)
	}
	return err
}

func (d *DB) syncLog() error {
	log, err := os.Open(d.path + "-wal")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(log.Sync(), log.Close())
}

// Size is what the database and its log take on the disk in bytes.
func (d *DB) Size() int64 {
	total := int64(0)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if size, err := disk.Usage(d.path + suffix); err == nil {
			total += size
		}
	}
	return total
}

// Shrink gives the space of deleted rows back to the disk and returns how many bytes that were. Another process that
// is using the database right now, and a disk that has no room for what is written anew, are reasons to leave it for
// the next time.
func (d *DB) Shrink() (freed int64, err error) {
	before := d.Size()
	for _, q := range []string{"VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"} {
		if _, err := d.Exec(q); err != nil {
			if strings.Contains(err.Error(), "SQLITE_BUSY") || strings.Contains(err.Error(), "locked") || errors.Is(err, syscall.ENOSPC) {
				return 0, nil
			}
			return 0, err
		}
	}
	return max(before-d.Size(), 0), nil
}

// Now is the time in the unit in which the database keeps times: milliseconds since 1970.
func Now() int64 { return time.Now().UnixMilli() }

// Queryer is what statements can be run on: a DB, or a transaction of it.
type Queryer interface {
	Exec(query string, args ...any) (sql.Result, error)
	Query(query string, args ...any) (*sql.Rows, error)
	QueryRow(query string, args ...any) *sql.Row
}

// Column reads the only column of a query's rows, which it closes. It takes the results of Query.
func Column[T any](rows *sql.Rows, err error) ([]T, error) {
	return Rows(rows, err, func(rows *sql.Rows) (v T, err error) {
		err = rows.Scan(&v)
		return v, err
	})
}

// Rows reads a query's rows, each by scan, and closes them. It takes the results of Query.
func Rows[T any](rows *sql.Rows, err error, scan func(*sql.Rows) (T, error)) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, errors.Join(rows.Err(), rows.Close())
}
