package db

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
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

// firstPage is the page of a database that create made, as it is in memory. Until it is synced a power cut may leave
// the database without a byte, and SQLite drops the log of such a one (sqlite.org/fileformat2.html, 4.4).
//
// It is a mapping and not an open file: closing a file drops the locks that this process has on it (fcntl(2), "Record
// locking"), and msync(2) waits for the disk as fsync does.
type firstPage []byte

// unsynced is the permission bit of a database whose first page nobody has brought to the disk yet: create sets it, and
// whoever has waited for the page takes it away, since its maker may be killed before. Linux gives the bit no meaning
// on a file (chmod(2), "sticky bit"), and SQLite does not give it to the log.
const unsynced = unix.S_ISVTX

// isSynced says that the first page of the database at path is on the disk, and the database's name.
func isSynced(path string) bool {
	var st unix.Stat_t
	return unix.Stat(path, &st) != nil || st.Mode&unsynced == 0
}

// noteSynced takes the mark of create away. Where that cannot be, somebody waits for the page once more.
func noteSynced(path string) {
	var st unix.Stat_t
	if unix.Stat(path, &st) == nil && st.Mode&unsynced != 0 {
		unix.Chmod(path, st.Mode&0o777) //nolint:errcheck // as said
	}
}

// isMoved says that all that was ever in the log of the database at path was moved to the database, for which SQLite
// has waited before it cut the log.
func isMoved(path string) bool {
	var st, log unix.Stat_t // in this order: the database grows first, and then the log is cut
	return unix.Stat(path, &st) == nil && st.Size > pageSize && unix.Stat(path+"-wal", &log) == nil && log.Size == 0
}

// create makes a database at path, which appears with all its bytes. It fails where another process has made one,
// where the log of one that is gone is left, which SQLite would take for its own, and on file systems that have no
// files without names.
func create(path string) (firstPage, error) {
	if _, err := os.Lstat(path + "-wal"); !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(fs.ErrExist, err)
	}
	fd, err := unix.Open(filepath.Dir(path), unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, unsynced|0o600)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if _, err := f.Write(emptyDatabase()); err != nil {
		return nil, err
	}
	page, err := unix.Mmap(fd, 0, pageSize, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	err = unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	if err != nil {
		return nil, errors.Join(err, unix.Munmap(page))
	}
	return page, nil
}

// sync waits until the page is on the disk, and the database's name in the folder dir.
func (p firstPage) sync(dir string) error {
	if err := unix.Msync(p, unix.MS_SYNC); err != nil {
		return fmt.Errorf("msync: %w", err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (p firstPage) close() error {
	if p == nil {
		return nil
	}
	return unix.Munmap(p)
}
