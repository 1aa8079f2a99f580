package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A reserve is room that a store keeps for the day on which its disk is full, since nothing can be removed without
// any: a removal is a transaction of meta.db, whose log grows by each page that changes, and what is removed is
// moved to a new folder first. It is given up by those who free space, and made again when there is room.
//
// It is a folder with a file that takes the space, and empty ones that take inodes.

// reserveInodes is how many files there are: a removal makes eight at most.
const reserveInodes = 32

// How much space is reserved, in bytes: as much as the database takes, all of whose pages a removal may change, within
// usualReserve and maxReserve; less where the disk has no more, but minReserve.
const (
	minReserve   = 128 << 10
	usualReserve = 1 << 20
	maxReserve   = 64 << 20
)

func reserveDir(root string) string { return filepath.Join(root, "reserve") }

func reserveFile(root string, n int) string { return filepath.Join(reserveDir(root), fmt.Sprint(n)) }

// KeepReserve sees to it that the store in the folder root has a reserve for a database of size bytes, as far as the disk
// has room.
func KeepReserve(root string, database int64) error {
	size := min(max(database, usualReserve), maxReserve)
	has := int64(0)
	if st, err := os.Stat(reserveFile(root, 0)); err == nil {
		has = st.Size()
	}
	var err error
	for ; size > has; size /= 2 {
		if err = makeReserve(root, size); err == nil || size < 2*minReserve {
			break
		}
	}
	if err == nil || has > 0 {
		return nil
	}
	return errors.Join(fmt.Errorf("making the reserve: %w", err), os.RemoveAll(reserveDir(root)))
}

func makeReserve(root string, size int64) error {
	if err := os.Mkdir(reserveDir(root), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	for n := reserveInodes - 1; n >= 0; n-- { // the one that is looked at comes last
		f, err := os.OpenFile(reserveFile(root, n), os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		if n == 0 {
			err = allocate(f, size)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// allocate takes space for a file. File systems that cannot do that have to be written to.
func allocate(f *os.File, size int64) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, size); !errors.Is(err, unix.EOPNOTSUPP) {
		if err != nil {
			err = errors.Join(err, f.Truncate(st.Size())) // what it got before
		}
		return err
	}
	zeros := make([]byte, 1<<16)
	for n := int64(0); n < size; n += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros, n); err != nil {
			return err
		}
	}
	return nil
}

// GiveUpReserve removes the reserve of the store in the folder root if the disk has less room than that, and says whether
// it did.
func GiveUpReserve(root string) bool {
	st, err := os.Stat(reserveFile(root, 0))
	if err != nil {
		return false
	}
	return !Fits(root, st.Size()) && os.RemoveAll(reserveDir(root)) == nil
}
