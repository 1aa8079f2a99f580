package db

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// pageSize is SQLite's default, in bytes.
const pageSize = 4096

// emptyDatabase is the only page of a database with a write-ahead log and nothing else, as SQLite makes it
// (sqlite.org/fileformat2.html, 1.3 and 1.6). SQLite itself makes it with a rollback journal first, and waits for the
// disk four times to change that.
func emptyDatabase() []byte {
	page := make([]byte, pageSize)
	copy(page, "SQLite format 3\x00")
	binary.BigEndian.PutUint16(page[16:], pageSize)
	page[18], page[19] = 2, 2                        // it is written and read with a log
	page[21], page[22], page[23] = 64, 32, 32        // always
	binary.BigEndian.PutUint32(page[24:], 1)         // how often it was changed
	binary.BigEndian.PutUint32(page[28:], 1)         // pages
	binary.BigEndian.PutUint32(page[92:], 1)         // at which of the changes that number was right
	page[100] = 13                                   // the leaf of a table
	binary.BigEndian.PutUint16(page[105:], pageSize) // where its cells begin: there is none
	return page
}

// create makes a database at path, which appears with all its bytes. It fails where another process has made one, and on file
// systems that have no files without names.
func create(path string) error {
	fd, err := unix.Open(filepath.Dir(path), unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if _, err := f.Write(emptyDatabase()); err != nil {
		return err
	}
	return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
}
