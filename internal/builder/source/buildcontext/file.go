package buildcontext

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/strata-build/strata/internal/layer"
	"golang.org/x/sys/unix"
)

// stat is what the stat cache compares: if none of it changed, the file did not.
type stat struct {
	size, mtime, ctime int64 // times in nanoseconds
	ino                uint64
	mode               uint32 // st_mode, with the type
}

func statOf(st *unix.Stat_t) stat {
	return stat{size: st.Size, mtime: st.Mtim.Nano(), ctime: st.Ctim.Nano(), ino: st.Ino, mode: st.Mode}
}

// settledAt tells whether a change made after now would alter the stat for certain. A file's times move in
// steps (10 ms at most on Linux file systems that keep nanoseconds, 2 s on FAT), so that a file changed
// twice in one step has the same times after both: git's "racy" entries (git, racy-git.txt). Such a
// file is not entered in the cache, and read again next time.
func (s stat) settledAt(now time.Time) bool {
	step := 100 * time.Millisecond
	if s.ctime%int64(time.Second) == 0 {
		step = 2 * time.Second
	}
	return max(s.mtime, s.ctime) < now.Add(-step).UnixNano()
}

// openBeneath opens a path of the context. The kernel refuses to leave the root and to follow a symlink
// anywhere on the way, so that one swapped in while the build runs leads nowhere (openat2(2)). Where
// openat2 is missing or filtered, the path is walked with O_NOFOLLOW.
func (c *Context) openBeneath(path string, flags int) (int, error) {
	if path == "" {
		path = "."
	}
	flags |= unix.O_NOFOLLOW | unix.O_CLOEXEC
	how := unix.OpenHow{Flags: uint64(flags), Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS}
	for try := 0; ; try++ {
		fd, err := unix.Openat2(int(c.root.Fd()), path, &how)
		switch err {
		case unix.EINTR:
		case unix.EAGAIN: // a lease on the file that is being given back (fcntl(2)), or a rename on the way
			if try > 100 {
				return -1, err
			}
			time.Sleep(time.Millisecond)
		case unix.ENOSYS, unix.EPERM, unix.ENAMETOOLONG:
			return c.openSteps(path, flags)
		default:
			return fd, err
		}
	}
}

// openSteps opens a path component by component.
func (c *Context) openSteps(path string, flags int) (int, error) {
	dir := int(c.root.Fd())
	for {
		name, rest, more := strings.Cut(path, "/")
		if name == ".." {
			return -1, unix.EXDEV
		}
		f := flags
		if more {
			f = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
		}
		fd, err := unix.Openat(dir, name, f, 0)
		if dir != int(c.root.Fd()) {
			unix.Close(dir)
		}
		if err != nil || !more {
			return fd, err
		}
		dir, path = fd, rest
	}
}

func readlink(fd int, name string) (string, error) {
	for size := 256; ; size *= 2 {
		buf := make([]byte, size)
		n, err := unix.Readlinkat(fd, name, buf)
		if err != nil {
			return "", err
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}

// readXattrs is xattrsOf a directory.
func readXattrs(dir int, name string) ([]layer.Xattr, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR):
		return nil, nil // not ours to read: listing it fails if a COPY selects it
	case err != nil:
		return nil, err
	}
	defer unix.Close(fd)
	return xattrsOf(fd)
}

// xattrsOf reads the extended attributes of an open file that a COPY can carry: user.* and security.capability. Never
// trusted.* and system.*, nor what security modules keep there: they belong to the host.
func xattrsOf(fd int) ([]layer.Xattr, error) {
	names, err := growing(func(b []byte) (int, error) { return unix.Flistxattr(fd, b) })
	if err != nil || len(names) == 0 {
		if errors.Is(err, unix.ENOTSUP) {
			err = nil
		}
		return nil, err
	}
	var out []layer.Xattr
	for key := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		if !strings.HasPrefix(key, "user.") && key != "security.capability" {
			continue
		}
		v, err := growing(func(b []byte) (int, error) { return unix.Fgetxattr(fd, key, b) })
		if errors.Is(err, unix.ENODATA) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read attribute %s: %w", key, err)
		}
		out = append(out, layer.Xattr{Name: key, Value: string(v)})
	}
	slices.SortFunc(out, func(a, b layer.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// growing calls read with larger and larger buffers until the value fits. The kernel's limit is 64 KiB.
func growing(read func([]byte) (int, error)) ([]byte, error) {
	var small [256]byte
	n, err := read(small[:])
	if !errors.Is(err, unix.ERANGE) {
		return append([]byte(nil), small[:max(n, 0)]...), err
	}
	buf := make([]byte, 64<<10)
	n, err = read(buf)
	return buf[:max(n, 0)], err
}

// ErrChanged is what errors.Is finds in a ChangedError.
var ErrChanged = errors.New("changed while the build read it")

// ChangedError says that a file of the context was written to, replaced or removed while the build read it.
type ChangedError struct{ Path string }

func (e *ChangedError) Error() string {
	return fmt.Sprintf("%s: %v; run the build again when nothing writes to it, or name it in .dockerignore", e.Path, ErrChanged)
}

// Is makes errors.Is(err, ErrChanged) hold.
func (e *ChangedError) Is(target error) bool { return target == ErrChanged }

// Open implements layer.Tree. The reader fails with a ChangedError, at once or at the end of the file, if the
// file is not the one that was listed or hashed.
func (c *Context) Open(_ context.Context, e *layer.Entry) (io.ReadCloser, error) {
	c.mu.Lock()
	n, err := c.find(e.Path)
	if err != nil {
		c.mu.Unlock()
		return nil, err
	}
	want := n.file.stat()
	c.mu.Unlock()
	if want.mode&unix.S_IFMT == unix.S_IFSOCK {
		return io.NopCloser(strings.NewReader("")), nil
	}
	fd, st, err := c.openFile(e.Path)
	if err != nil {
		return nil, err
	}
	if st != want {
		unix.Close(fd)
		return nil, &ChangedError{e.Path}
	}
	return &reader{fd: fd, path: e.Path, want: want, left: want.size}, nil
}

// openFile opens a regular file for reading. O_NONBLOCK: a fifo put in its place must not block the build.
func (c *Context) openFile(path string) (int, stat, error) {
	fd, err := c.openBeneath(path, unix.O_RDONLY|unix.O_NONBLOCK)
	switch {
	case gone(err):
		return -1, stat{}, &ChangedError{path}
	case err != nil:
		return -1, stat{}, fmt.Errorf("open %q of the build context: %w", "/"+path, hint(err))
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return -1, stat{}, errors.Join(err, &ChangedError{path})
	}
	return fd, statOf(&st), nil
}

// reader reads a file of the context and checks that it stays the same.
type reader struct {
	fd   int
	path string
	want stat
	left int64
}

func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := readFD(r.fd, p)
	if err != nil {
		return 0, fmt.Errorf("read %q of the build context: %w", "/"+r.path, err)
	}
	if r.left -= int64(n); r.left < 0 {
		return 0, &ChangedError{r.path}
	}
	if n > 0 {
		return n, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(r.fd, &st); err != nil || statOf(&st) != r.want || r.left != 0 {
		return 0, errors.Join(err, &ChangedError{r.path})
	}
	return 0, io.EOF
}

func (r *reader) Close() error { return unix.Close(r.fd) }

func readFD(fd int, p []byte) (int, error) {
	for {
		n, err := unix.Read(fd, p)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}
