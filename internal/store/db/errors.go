package db

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/strata-build/strata/internal/store/disk"
)

// Explain adds to an error of the database, or of the disk that it is on, what a person can do about it.
func (d *DB) Explain(err error) error { return Explain(filepath.Dir(d.path), err) }

// Explain is DB.Explain for the store in the folder root.
func Explain(root string, err error) error {
	var e *sqlite.Error
	if errors.As(err, &e) {
		if errno := errno(root, e.Code()); errno != 0 && !errors.Is(err, errno) {
			err = fmt.Errorf("%w: %w", err, errno)
		}
	}
	if told := (*DamagedError)(nil); IsDamaged(err) && !errors.As(err, &told) {
		return &DamagedError{root, err}
	}
	return disk.Explain(root, err)
}

// DamagedError is what SQLite says of a damaged meta.db.
type DamagedError struct {
	Root string // the store's folder
	err  error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("%v; meta.db is damaged: move %s away and build again", e.err, e.Root)
}

// Unwrap is SQLite's error.
func (e *DamagedError) Unwrap() error { return e.err }

// IsDamaged says that the database holds what SQLite cannot read.
func IsDamaged(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return true
	}
	return false
}

// errno is the system's error behind one of SQLite's (sqlite.org/rescode.html), which tells of it only roughly; 0
// where it is not known.
func errno(root string, code int) syscall.Errno {
	switch code & 0xff {
	case sqlite3.SQLITE_FULL:
		return syscall.ENOSPC
	case sqlite3.SQLITE_READONLY:
		return syscall.EROFS
	case sqlite3.SQLITE_NOMEM:
		return syscall.ENOMEM
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN:
		if code == sqlite3.SQLITE_IOERR_NOMEM {
			return syscall.ENOMEM
		}
		if disk.FewFiles() {
			return syscall.EMFILE
		}
		if disk.ReadOnly(root) {
			return syscall.EROFS
		}
		if !disk.Fits(root, disk.Full) {
			return syscall.ENOSPC
		}
	}
	return 0
}
