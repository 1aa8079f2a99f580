package db

import (
	"bytes"
	"database/sql"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestEmptyDatabase compares the database that create makes with SQLite's.
func TestEmptyDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	d, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(wal)")
	if err == nil {
		err = d.Ping()
	}
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const version = 96 // of the library, which is told and not read
	got := emptyDatabase()
	copy(want[version:version+4], got[version:])
	if err := d.Close(); err != nil || !bytes.Equal(got, want) {
		t.Errorf("SQLite makes\n%x\nand create\n%x\n%v", want[:120], got[:120], err)
	}
}

// TestOpenNew has a new database, however it was made, be the same afterwards.
func TestOpenNew(t *testing.T) {
	tables := func(root string) (all []string) {
		d, err := Open(root)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if current, err := d.isCurrent(); err != nil || !current {
			t.Errorf("it is not complete: %v", err)
		}
		var mode, check string
		var synchronous int
		if err := d.QueryRow("SELECT journal_mode, synchronous, quick_check FROM pragma_journal_mode, pragma_synchronous, pragma_quick_check").
			Scan(&mode, &synchronous, &check); err != nil || mode != "wal" || synchronous != 1 || check != "ok" {
			t.Errorf("journal_mode=%s, synchronous=%d, %s: %v", mode, synchronous, check, err)
		}
		all, err = Column[string](d.Query("SELECT name || coalesce(sql, '') FROM sqlite_master ORDER BY name"))
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	created, empty := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(empty, "meta.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want := tables(empty)
	if got := tables(created); !slices.Equal(got, want) {
		t.Errorf("the tables are\n%q\nand not\n%q", got, want)
	}
	if again := tables(created); !slices.Equal(again, want) {
		t.Errorf("opened again, the tables are\n%q", again)
	}
	if st, err := os.Stat(filepath.Join(created, "meta.db")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("its permissions are %v: %v", st.Mode(), err)
	}
}

// TestOpenBesideALog has a new database not take up the log of one that is gone.
func TestOpenBesideALog(t *testing.T) {
	root := t.TempDir()
	d, err := Open(root)
	if err == nil { // the first of a store leaves no log
		err = d.Close()
	}
	if err == nil {
		d, err = Open(root)
	}
	if err == nil {
		_, err = d.Exec("INSERT INTO logs (seq, data) VALUES (1, zeroblob(10))")
	}
	if err == nil {
		d.Spare()
		err = d.Close()
	}
	if err == nil {
		err = os.Remove(filepath.Join(root, "meta.db"))
	}
	if err == nil {
		d, err = Open(root)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	rows, check := 0, ""
	err = d.QueryRow("SELECT (SELECT count(*) FROM logs), quick_check FROM pragma_quick_check").Scan(&rows, &check)
	if rows != 0 || check != "ok" || err != nil {
		t.Errorf("it has %d rows of another database: %s, %v", rows, check, err)
	}
}

// TestFlushOfNew has the first Flush wait for the database itself, once, and one that waited for nothing leave no log.
func TestFlushOfNew(t *testing.T) {
	root := t.TempDir()
	d, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	if d.first.Load() == nil {
		t.Skip("the file system has no files without names")
	}
	if isSynced(d.path) {
		t.Error("it is not told that nobody has waited for the page")
	}
	if err := d.Flush(); err != nil || d.first.Load() == nil {
		t.Errorf("it waits for the disk where nothing was promised: %v", err)
	}
	d.Promise()
	if err := d.Flush(); err != nil || d.first.Load() != nil || !isSynced(d.path) {
		t.Errorf("it does not wait for the database: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	root = t.TempDir()
	if d, err = Open(root); err != nil {
		t.Fatal(err)
	}
	d.Spare()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if st, err := os.Stat(filepath.Join(root, "meta.db-wal")); err != nil || st.Size() != 0 || !isSynced(d.path) {
		t.Errorf("all of a new database is in its log: %v, %v", st, err)
	}
}

// TestPageOfAnother has a promise wait for the first page of a database whose maker did not, and nobody leave rows in
// the log while nobody has.
func TestPageOfAnother(t *testing.T) {
	// made makes a database whose maker is killed: all is in its log, and the page may not be on the disk.
	made := func() string {
		root := t.TempDir()
		d, err := Open(root)
		if err != nil {
			t.Fatal(err)
		}
		if isSynced(d.path) {
			t.Skip("the file system has no files without names")
		}
		killed := t.TempDir()
		for _, name := range []string{"meta.db", "meta.db-wal"} {
			data, err := os.ReadFile(filepath.Join(root, name))
			if err == nil {
				err = os.WriteFile(filepath.Join(killed, name), data, 0o600)
			}
			if err == nil && name == "meta.db" {
				err = os.Chmod(filepath.Join(killed, name), 0o600|os.ModeSticky)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		return killed
	}
	size := func(root, name string) int64 {
		st, err := os.Stat(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return st.Size()
	}
	for _, test := range []struct {
		what    string
		promise bool
		beside  bool // another one that has it open closes it last
		synced  bool
	}{
		{"a promise", true, false, true},
		{"a promise, beside another", true, true, true},
		{"no promise", false, false, true}, // since all was moved to the database
		{"no promise, beside another", false, true, false},
	} {
		root := made()
		d, err := Open(root)
		if err != nil {
			t.Fatal(err)
		}
		var other *DB
		if test.beside {
			if other, err = Open(root); err != nil {
				t.Fatal(err)
			}
		}
		if isSynced(d.path) {
			t.Errorf("%s: opening it has waited", test.what)
		}
		if _, err := d.Exec("INSERT INTO logs (data) VALUES (zeroblob(9))"); err != nil {
			t.Fatal(err)
		}
		d.Spare()
		if test.promise {
			d.Promise()
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if got := isSynced(d.path); got != test.synced {
			t.Errorf("%s: the page is on the disk: %v", test.what, got)
		}
		// What is in the log alone is worth nothing without the page.
		if size(root, "meta.db-wal") > 0 && size(root, "meta.db") <= pageSize && !test.synced && other == nil {
			t.Errorf("%s: the rows stay in the log", test.what)
		}
		if other != nil {
			other.Spare()
			if err := other.Close(); err != nil || !isSynced(d.path) {
				t.Errorf("%s: nobody has waited for the page: %v", test.what, err)
			}
		}
		if d, err = Open(root); err != nil {
			t.Fatal(err)
		}
		rows := 0
		if err := d.QueryRow("SELECT count(*) FROM logs").Scan(&rows); err != nil || rows != 1 {
			t.Errorf("%s: %d rows: %v", test.what, rows, err)
		}
		d.Spare()
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}
