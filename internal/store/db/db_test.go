package db

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// TestSpare: what is spare stays in the log, as far as that is small, and is there when the database is opened next;
// so does what was promised.
func TestSpare(t *testing.T) {
	root := t.TempDir()
	logged := func() int64 {
		st, err := os.Stat(filepath.Join(root, "meta.db-wal"))
		if err != nil {
			t.Fatal(err)
		}
		return st.Size()
	}
	rows := 0
	write := func(size int, then ...func(*DB)) {
		t.Helper()
		d, err := Open(root)
		if err != nil {
			t.Fatal(err)
		}
		rows++
		_, err = d.Exec("INSERT INTO logs (seq, data) VALUES (?, zeroblob(?))", rows, size)
		if err != nil {
			t.Fatal(err)
		}
		var got int
		if err := d.QueryRow("SELECT count(*) FROM logs").Scan(&got); err != nil || got != rows {
			t.Fatalf("%d rows, want %d: %v", got, rows, err)
		}
		for _, f := range then {
			f(d)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	write(10)
	if n := logged(); n != 0 {
		t.Errorf("the log has %d bytes", n)
	}
	write(10, (*DB).Spare)
	first := logged()
	if first == 0 {
		t.Error("what is spare is not left in the log: does the driver keep its handle elsewhere?")
	}
	write(10, (*DB).Spare)
	if n := logged(); n <= first || n > maxLog {
		t.Errorf("the log has %d bytes after %d", n, first)
	}
	last := logged()
	write(10, (*DB).Promise, (*DB).Spare)
	if n := logged(); n <= last || n > maxLog {
		t.Errorf("the log has %d bytes after a promise, and %d before", n, last)
	}
	write(maxLog, (*DB).Spare)
	if n := logged(); n != 0 {
		t.Errorf("the log has %d bytes, more than %d", n, maxLog)
	}
	write(10)
}

// Closing waits for the log where rows in it are not spare, and not for those of others.
func TestCloseWaits(t *testing.T) {
	root := t.TempDir()
	d, err := Open(root)
	if err == nil {
		err = d.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	write := func(d *DB) {
		if _, err := d.Exec("INSERT INTO logs (data) VALUES (zeroblob(9))"); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		what  string
		do    []func(*DB)
		waits bool
	}{
		{"rows", []func(*DB){write}, true},
		{"nothing", nil, false},
		{"spare rows", []func(*DB){write, (*DB).Spare}, false},
		{"nothing, beside the spare rows of another", nil, false},
		{"rows that are promised", []func(*DB){write, (*DB).Promise, (*DB).Spare}, true},
	} {
		d, err := Open(root)
		if err != nil {
			t.Fatal(err)
		}
		for _, do := range test.do {
			do(d)
		}
		if got := d.isOwed(); got != test.waits {
			t.Errorf("%s: it waits: %v", test.what, got)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestSpareBesideOthers has connections come and go, and the database closed while some are in use.
func TestSpareBesideOthers(t *testing.T) {
	root := t.TempDir()
	for range 3 {
		d, err := Open(root)
		if err != nil {
			t.Fatal(err)
		}
		var others sync.WaitGroup
		for range 4 {
			others.Go(func() {
				for range 50 {
					var n int
					if d.QueryRow("SELECT count(*) FROM logs").Scan(&n) != nil {
						return // it is closed
					}
				}
			})
		}
		d.Spare()
		for range 20 {
			d.leaveLog()
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		others.Wait()
	}
}
