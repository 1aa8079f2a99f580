package disk

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Replace writes a file with the permissions mode, less the umask, and gives it the name path when it is complete. What was
// there is as it was until then, and nothing is beside it meanwhile: the file has no name (O_TMPFILE, open(2)), so that
// a process that is killed leaves nothing. Where something has the name already, the file has a hidden one between two
// system calls, for only a rename can replace. File systems without O_TMPFILE, of FUSE and NFS for instance, get
// a hidden name for as long as it is written.
func Replace(path string, mode fs.FileMode, write func(*os.File) error) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return ReplaceIn(dir, filepath.Base(path), mode, write)
}

// ReplaceIn is Replace of a name in an open directory.
func ReplaceIn(dir *os.File, name string, mode fs.FileMode, write func(*os.File) error) (err error) {
	at := int(dir.Fd())
	hidden := "." + name[:min(len(name), 200)] + "-" + rand.Text()[:10]
	failed := func(call string, err error) error {
		return &fs.PathError{Op: call, Path: filepath.Join(dir.Name(), name), Err: err}
	}
	nameless := true
	fd, err := openAgain(at, ".", unix.O_TMPFILE|unix.O_RDWR, mode)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EINVAL) {
		nameless = false
		fd, err = openAgain(at, hidden, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR, mode)
	}
	if err != nil {
		return failed("create", err)
	}
	f := os.NewFile(uintptr(fd), filepath.Join(dir.Name(), name))
	defer f.Close()
	if !nameless {
		defer func() {
			if err != nil {
				_ = unix.Unlinkat(at, hidden, 0)
			}
		}()
	}
	if err := write(f); err != nil {
		return err
	}
	if nameless {
		from := fmt.Sprintf("/proc/self/fd/%d", fd)
		err := unix.Linkat(unix.AT_FDCWD, from, at, name, unix.AT_SYMLINK_FOLLOW)
		if err == nil {
			return f.Close()
		}
		if !errors.Is(err, unix.EEXIST) {
			return failed("link", err)
		}
		if err := unix.Linkat(unix.AT_FDCWD, from, at, hidden, unix.AT_SYMLINK_FOLLOW); err != nil {
			return failed("link", err)
		}
	}
	if err := unix.Renameat(at, hidden, at, name); err != nil {
		_ = unix.Unlinkat(at, hidden, 0)
		return failed("rename", err)
	}
	return f.Close()
}

// openAgain is openat(2), again where a signal interrupted it.
func openAgain(dir int, name string, flags int, mode fs.FileMode) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags|unix.O_CLOEXEC, uint32(mode.Perm()))
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}
