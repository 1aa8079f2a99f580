package identity

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseOwner(t *testing.T) {
	for _, o := range []Owner{{}, {1, 2}, {1<<32 - 2, 65534}} {
		if got, ok := ParseOwner(o.String()); !ok || got != o {
			t.Errorf("%v is read as %v", o, got)
		}
	}
	for _, bad := range []string{"", "1", "1 2 3", "-1 2", "a b", "4294967296 0"} {
		if o, ok := ParseOwner(bad); ok {
			t.Errorf("%q is %v", bad, o)
		}
	}
}

// Owners are noted where there is one number, and read again; what is root's has no note, and what can have none goes
// without.
func TestNotes(t *testing.T) {
	id := &Identity{owners: noted{}, place: place{mapped: true, ids: 1}}
	dir := t.TempDir()
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(at)
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("file", link); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, path string
		owner      Owner
		want       string
	}{
		{"file", file, Owner{1, 2}, "1 2"},
		{"link", link, Owner{3, 4}, "1 2"}, // the file's
		{"file", file, Owner{}, ""},
		{".", dir, Owner{5, 6}, "5 6"},
	} {
		if err := id.Own(at, test.name, test.owner); err != nil {
			t.Fatal(err)
		}
		note := make([]byte, 32)
		n, err := unix.Getxattr(test.path, OwnerXattr, note)
		if got := string(note[:max(n, 0)]); got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%s is noted to be of %q (%v), want %q", test.name, got, err, test.want)
		}
	}

	// An inode of a link that is gone is another link's later: the time at which it was made tells them apart.
	ledger := NewLedger()
	if err := ledger.Note(at, "link", Owner{3, 4}); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link, filepath.Join(dir, "moved")); err != nil {
		t.Fatal(err)
	}
	if o, ok := ledger.Lookup(at, "moved"); !ok || o != (Owner{3, 4}) {
		t.Errorf("the link that was moved is of %v", o)
	}
	if _, ok := ledger.Lookup(at, "file"); ok {
		t.Error("the ledger knows a file that was not noted")
	}
	if _, ok := (*Ledger)(nil).Lookup(at, "file"); ok {
		t.Error("no ledger knows a file")
	}
}
