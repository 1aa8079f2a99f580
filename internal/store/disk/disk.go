// Package disk has what all parts of the store do with files: measuring them, giving them their
// final names, locking the folders that are in use, and telling a person what to do about an error
// of the disk.
package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
)

// IsLocal says that an error is this machine's: getting the bytes from another source would not help.
func IsLocal(err error) bool {
	for _, e := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EACCES, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Exists says whether something has this path.
func Exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Identity tells a file or folder from another that gets its path later: by the number of its inode and the time at
// which that was made. The zero Identity is that of nothing.
type Identity struct {
	inode   uint64
	seconds int64
	nanos   uint32
}

// Identify returns what has a path now.
func Identify(path string) Identity {
	var st unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_INO|unix.STATX_BTIME, &st) != nil {
		return Identity{}
	}
	return Identity{st.Ino, st.Btime.Sec, st.Btime.Nsec}
}

// Tighten takes the permissions of all but its owner from a file or folder; what is not there needs none.
func Tighten(path string) error {
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || st.Mode().Perm()&0o077 == 0 {
		return err
	}
	return os.Chmod(path, st.Mode().Perm()&0o700)
}

// Place gives the folder dir its final name. placed is false where another folder has that name already: then dir stays
// where it is.
func Place(dir, final string) (placed bool, err error) {
	err = os.Rename(dir, final)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENOTEMPTY) {
		return false, nil
	}
	return err == nil, err
}

// Usage is what a file or folder takes on the disk in bytes; a file with several names below path counts
// once. What is not there takes nothing.
func Usage(path string) (int64, error) {
	total := int64(0)
	seen := map[uint64]bool{}
	err := filepath.WalkDir(path, func(p string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(p, &st)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed by somebody else meanwhile
		}
		if err != nil {
			return err
		}
		if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if seen[st.Ino] {
				return nil
			}
			seen[st.Ino] = true
		}
		total += st.Blocks * 512
		return nil
	})
	return total, err
}

// ContentsUsage is what lies in a folder, the folder itself not counted.
func ContentsUsage(dir string) (int64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	total := int64(0)
	for _, e := range entries {
		size, err := Usage(filepath.Join(dir, e.Name()))
		if err != nil {
			return 0, err
		}
		total += size
	}
	return total, nil
}

// Remove removes a file or folder and returns what it took on the disk in bytes.
func Remove(path string) (freed int64, err error) {
	size, err := Usage(path)
	if err != nil {
		return 0, err
	}
	if err := os.RemoveAll(path); err != nil {
		return 0, err
	}
	return size, nil
}

// Estimate is what the tree or tar of a layer takes on the disk in bytes, about: whole blocks of 4
// KiB, and one for each directory. Two folders and the table of contents come with it. The table's Err says whether
// all of it could be read.
func Estimate(t layer.Table) int64 {
	n := int64(3 * 4096)
	for e := range t.All() {
		switch e.Type {
		case layer.File:
			n += (e.Size + 4095) &^ 4095
		case layer.Dir:
			n += 4096
		}
	}
	return n
}
