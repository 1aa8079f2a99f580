package layer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// openRoot opens the directory that all other calls of this file are relative to.
func openRoot(dir string) (int, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return fd, nil
}

// openBeneath opens a path under root without following any symbolic link in it: no component can lead out of root,
// whatever the tree holds. Kernels and sandboxes without openat2 get one openat per component.
func openBeneath(root int, path string, flags int) (int, error) {
	if path == "" {
		path = "."
	}
	how := &unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC | unix.O_NOFOLLOW),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		fd, err := unix.Openat2(root, path, how)
		switch {
		case err == nil:
			return fd, nil
		case errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN):
			continue
		case errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM):
			return openByComponents(root, path, flags)
		}
		return -1, &fs.PathError{Op: "open", Path: path, Err: err}
	}
}

func openByComponents(root int, path string, flags int) (int, error) {
	at := root
	for rest, more := path, true; more; {
		var name string
		name, rest, more = strings.Cut(rest, "/")
		if name == ".." || name == "" {
			return -1, &fs.PathError{Op: "open", Path: path, Err: unix.EXDEV}
		}
		f := unix.O_PATH | unix.O_DIRECTORY
		if !more {
			f = flags
		}
		fd, err := unix.Openat(at, name, f|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if at != root {
			unix.Close(at)
		}
		if err != nil {
			return -1, &fs.PathError{Op: "open", Path: path, Err: err}
		}
		at = fd
	}
	return at, nil
}

// openFileBeneath opens a regular file under root for reading; anything else that took its place is an error.
func openFileBeneath(root int, path string) (*os.File, error) {
	fd, err := openBeneath(root, path, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return nil, fmt.Errorf("%q is not a regular file any more", clip(path))
	}
	return os.NewFile(uintptr(fd), path), nil
}

// atPath is a path for those calls that have no *at form (the xattr ones before Linux 6.13): the magic link leads to the open
// directory itself, so that only name is looked up, and the l-calls do not follow it.
func atPath(dirfd int, name string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", dirfd, name)
}
