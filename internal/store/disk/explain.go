package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// explained is an error of the disk with what a person can do about it.
type explained struct {
	err    error
	advice string
}

func (e *explained) Error() string { return e.err.Error() + "; " + e.advice }
func (e *explained) Unwrap() error { return e.err }

// Explain adds to an error of the disk what a person can do about it. root is the store's folder, or one in it. What is
// no such error, or was explained before, stays as it is. It is called before what was written is
// removed: afterwards there is room again, and nobody can tell what was short.
func Explain(root string, err error) error {
	var before *explained
	var readOnly *ReadOnlyError
	if err == nil || errors.As(err, &before) || errors.As(err, &readOnly) {
		return err
	}
	if advice := advice(root, err); advice != "" {
		return &explained{err, advice}
	}
	return err
}

// Advised is an error that says what a person can do about it; Explain leaves it as it is.
func Advised(err error, advice string) error { return &explained{err, advice} }

// ExplainNamed is Explain for the errors that a command ends with, which may be of files that a person has named: one
// that is not there, and about which nothing was said after a semicolon.
func ExplainNamed(root string, err error) error {
	var path *fs.PathError
	if errors.Is(err, fs.ErrNotExist) && errors.As(err, &path) && isNamed(root, path) && !strings.Contains(err.Error(), "; ") {
		return &explained{err, "see whether the name is right"}
	}
	if root == "" && !errors.Is(err, fs.ErrPermission) {
		return err // no store is open: nothing is known of its disk
	}
	return Explain(root, err)
}

// isNamed says that a file is none of the store's, which are below root: their paths are absolute, or those of an
// os.Root, whose operations end in "at".
func isNamed(root string, e *fs.PathError) bool {
	if strings.HasSuffix(e.Op, "at") && e.Op != "stat" && e.Op != "lstat" {
		return false
	}
	below := root != "" && (e.Path == root || strings.HasPrefix(e.Path, strings.TrimSuffix(root, "/")+"/"))
	return !below && !strings.HasPrefix(e.Path, "/proc/") && !strings.HasPrefix(e.Path, "/sys/")
}

func advice(root string, err error) string {
	var path *fs.PathError
	switch {
	case errors.Is(err, fs.ErrPermission) && errors.As(err, &path) && isNamed(root, path):
		return "permit it to this user, or run strata as root"
	case errors.Is(err, fs.ErrPermission):
		return "run strata as root, or set STRATA_ROOT to a folder of your own"
	case errors.Is(err, syscall.ENOSPC):
		return full(root, err)
	case errors.Is(err, syscall.EDQUOT):
		return "the disk quota is used up; make room with strata builder prune or strata system prune -a, or ask for more"
	case errors.Is(err, syscall.EROFS):
		return (&ReadOnlyError{root}).Error()
	case errors.Is(err, syscall.EMFILE):
		return "this process may open too few files; raise the limit, for instance with: ulimit -n 1024"
	case errors.Is(err, syscall.ENOMEM):
		return "there is not enough memory, or its limit is too low; raise that, for instance with: ulimit -v unlimited"
	case errors.Is(err, syscall.ENFILE):
		return "the machine has too many open files; raise the limit, for instance with: sysctl fs.file-max=1000000"
	}
	return ""
}

// full says what is full. The error may be of another file system than the store's.
func full(root string, err error) string {
	var path *fs.PathError
	if errors.As(err, &path) && filepath.IsAbs(path.Path) && !sameDevice(root, filepath.Dir(path.Path)) {
		elsewhere := filepath.Dir(path.Path)
		if room, err := RoomAt(elsewhere); err == nil && !room.full() {
			return "" // a limit of another kind, or /dev/full
		}
		return shortage(elsewhere, "make room there")
	}
	return Shortage(root)
}

// Shortage says what is short on the full disk of the store in the folder root, and what a person can do about it.
func Shortage(root string) string {
	return shortage(root, "make room with strata builder prune or strata system prune -a, or set STRATA_ROOT to a folder on a larger disk")
}

func shortage(dir, advice string) string {
	room, err := RoomAt(dir)
	if err != nil {
		return advice
	}
	return room.String() + "; " + advice
}

// FewFiles says that this process has nearly as many open files as it may have.
func FewFiles() bool {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return false
	}
	open, err := os.ReadDir("/proc/self/fd")
	return errors.Is(err, syscall.EMFILE) || err == nil && uint64(len(open)+8) > limit.Cur
}

// sameDevice says that two paths are on one file system, as far as both are there.
func sameDevice(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	if errX != nil || errY != nil {
		return true
	}
	s, okS := x.Sys().(*syscall.Stat_t)
	t, okT := y.Sys().(*syscall.Stat_t)
	return !okS || !okT || s.Dev == t.Dev
}
