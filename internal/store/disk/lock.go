package disk

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// A folder that several processes use and that may be removed has a file "lock" in it, which who
// uses the folder has locked (flock(2)): shared by those who share the folder, exclusively by those
// who do not, or who remove it. A process that is killed loses its locks.

// lockFile is the path of a folder's lock.
func lockFile(dir string) string { return filepath.Join(dir, "lock") }

// CreateLock makes the lock of a new folder and takes it.
func CreateLock(dir string, shared bool) (*os.File, error) {
	f, err := os.OpenFile(lockFile(dir), os.O_CREATE|os.O_EXCL|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if ok, err := tryLock(f, shared); !ok {
		f.Close()
		return nil, errors.Join(err, unix.EWOULDBLOCK)
	}
	return f, nil
}

// TakeLock takes the lock of a folder; nil if another's lock is in the way or the folder is gone.
// Closing the file gives the lock back.
func TakeLock(dir string, shared bool) (*os.File, error) {
	return take(lockFile(dir), shared, 0)
}

// TakeNamedLock takes the exclusive lock of a file, which it makes if it is not there; nil if
// another's lock is in the way.
func TakeNamedLock(path string) (*os.File, error) {
	return take(path, false, os.O_CREATE)
}

// AwaitLock waits until nobody else holds the exclusive lock of a file, which it makes if it is not there, and takes
// it. Whoever has it ends it with release, which removes the file.
func AwaitLock(ctx context.Context, path string) (release func(), err error) {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		f, err := TakeNamedLock(path)
		if err != nil {
			return nil, err
		}
		if f != nil {
			return func() {
				os.Remove(path)
				f.Close()
			}, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

func take(path string, shared bool, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, flags|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if errors.Is(err, fs.ErrNotExist) && flags&os.O_CREATE == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	// Who held the lock may have removed or renamed the file meanwhile: then this lock is on a file of another name, or
	// of none.
	ok, err := tryLock(f, shared)
	if err != nil {
		f.Close()
		return nil, err
	}
	var held, named unix.Stat_t
	if !ok || unix.Fstat(int(f.Fd()), &held) != nil ||
		unix.Stat(path, &named) != nil || held.Ino != named.Ino {
		return nil, f.Close()
	}
	return f, nil
}

// InUse tells whether somebody holds the lock of a folder.
func InUse(dir string) (bool, error) {
	f, err := os.OpenFile(lockFile(dir), os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	ok, err := tryLock(f, false)
	return !ok, err
}

// IsLocked says whether somebody holds the lock of a file.
func IsLocked(f *os.File) (bool, error) {
	ok, err := tryLock(f, true)
	return !ok, err
}

// tryLock is false where another's lock is in the way. A file system without locks is an error.
func tryLock(f *os.File, shared bool) (bool, error) {
	how := unix.LOCK_EX
	if shared {
		how = unix.LOCK_SH
	}
	err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	if err != nil {
		return false, &fs.PathError{Op: "flock", Path: f.Name(), Err: err}
	}
	return true, nil
}
