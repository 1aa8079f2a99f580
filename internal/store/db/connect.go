package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"reflect"

	"modernc.org/libc"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// connect opens the file at path with some parameters of the driver.
func connect(path, parameters string) (*DB, error) {
	base, err := sqlite.NewConnector("file:" + (&url.URL{Path: path}).EscapedPath() + "?_pragma=busy_timeout(20000)&" + parameters)
	if err != nil {
		return nil, err
	}
	return &DB{DB: sql.OpenDB(keeping{base}), path: path}, nil
}

// keeping makes connections after whose last one SQLite's log, meta.db-wal, stays as an empty file, and the log's
// index, meta.db-shm, as it is. So a store can be opened where nothing can be made: on a full disk, and on one that
// cannot be written to (sqlite.org/wal.html#readonly).
type keeping struct{ driver.Connector }

// Connect implements driver.Connector.
func (k keeping) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := k.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	control, ok := conn.(sqlite.FileControl)
	if !ok {
		return conn, nil
	}
	if _, err := control.FileControlPersistWAL("main", 1); err != nil {
		return nil, errors.Join(fmt.Errorf("keeping the log of meta.db: %w", err), conn.Close())
	}
	return conn, nil
}

// leaveLog has the last connection leave in the log what is there when it closes, instead of moving it to the
// database, which waits for the disk three times (SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE). Where that is one that is in use
// now, all is as usual.
//
// The driver has no call for that: it takes the handle that the driver keeps. Where there is none, all is as usual too.
func (d *DB) leaveLog() {
	var held []*sql.Conn // until all are told: one that is given back may be taken again
	for d.Stats().Idle > 0 {
		conn, err := d.Conn(context.Background())
		if err != nil {
			break
		}
		held = append(held, conn)
		if conn.Raw(tellToLeaveLog) != nil {
			break
		}
	}
	for _, conn := range held {
		conn.Close()
	}
}

// tellToLeaveLog is leaveLog of one of the driver's connections, which nobody else uses meanwhile.
func tellToLeaveLog(conn any) error {
	handle := handleOf(conn)
	if handle == 0 {
		return nil
	}
	tls := libc.NewTLS()
	defer tls.Close()
	arguments := libc.Xmalloc(tls, 16) // an int and a pointer, in slots of 8 bytes
	if arguments == 0 {
		return nil
	}
	defer libc.Xfree(tls, arguments)
	sqlite3.Xsqlite3_db_config(tls, handle, sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, libc.VaList(arguments, int32(1), uintptr(0)))
	return nil
}

// handleOf is a connection's sqlite3 *, 0 for one that is closed.
func handleOf(conn any) uintptr {
	handle := reflect.Indirect(reflect.ValueOf(conn)).FieldByName("db")
	if !handle.IsValid() || handle.Kind() != reflect.Uintptr {
		return 0
	}
	return uintptr(handle.Uint())
}

// OpenReadOnly opens the database of a store that cannot be written to. Statements that write fail.
func OpenReadOnly(root string) (*DB, error) {
	// Beside a process that writes, through another mount for instance, reading needs the log's index. Where that is
	// not there nobody writes: nothing is locked then, and the index is made in memory (sqlite.org/wal.html#noshm).
	// Without a log all is in the database.
	var first error
	for _, how := range []string{"", "vfs=unix-none&_pragma=locking_mode(exclusive)", "immutable=1"} {
		if _, err := os.Stat(filepath.Join(root, "meta.db-wal")); how == "immutable=1" && !errors.Is(err, fs.ErrNotExist) {
			break
		}
		d, err := connect(filepath.Join(root, "meta.db"), "mode=ro&"+how)
		if err != nil {
			return nil, err
		}
		current, err := d.isCurrent()
		if err == nil && !current {
			err = errors.New("an older strata made the store; make it writable and run this one once, strata info for instance")
		}
		if err == nil {
			return d, nil
		}
		d.Close()
		if first == nil {
			first = err
		}
	}
	return nil, first
}
