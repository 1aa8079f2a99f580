package layer

import (
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer/identity"
)

// tree writes entries into a directory in the form that overlayfs takes as a lower layer. Paths come from an
// assembler or a checked TOC, so that all parents are directories made here; still, every parent is opened
// without following symbolic links and the last component only with calls that do not follow, so that
// no bug above can make it write outside the root.
//
// A tree belongs to one goroutine. It keeps the directory that it used last open, for most files follow their siblings.
type tree struct {
	root   int // not owned
	dir    int
	path   string
	opened bool
	id     *identity.Identity
}

func newTree(root int) *tree {
	return &tree{root: root, dir: -1, id: identity.Current()}
}

func (t *tree) close() {
	if t.opened {
		unix.Close(t.dir)
		t.opened = false
	}
}

// parent opens the directory of a path, and returns it with the last component.
func (t *tree) parent(path string) (int, string, error) {
	dir, name := Parent(path), path[strings.LastIndexByte(path, '/')+1:]
	if t.opened && t.path == dir {
		return t.dir, name, nil
	}
	fd, err := openBeneath(t.root, dir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return -1, "", err
	}
	t.close()
	t.dir, t.path, t.opened = fd, dir, true
	return fd, name, nil
}

// mkdir makes a directory that only we can enter until its metadata is set.
func (t *tree) mkdir(path string) error {
	at, name, err := t.parent(path)
	if err != nil {
		return err
	}
	if err := unix.Mkdirat(at, name, 0o700); err != nil {
		return pathError("mkdir", path, err)
	}
	return nil
}

// create makes an empty regular file.
func (t *tree) create(path string) (*os.File, error) {
	at, name, err := t.parent(path)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Openat(at, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, pathError("create", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// finish sets the metadata of an open file that is as long as it should be: the owner first, since a change of owner
// clears setuid bits and capabilities.
func (t *tree) finish(f *os.File, e *Entry) error {
	fd := int(f.Fd())
	if err := t.id.OwnNew(fd, ownerOf(e)); err != nil {
		return pathError("chown", e.Path, err)
	}
	if err := unix.Fchmod(fd, e.Mode); err != nil {
		return pathError("chmod", e.Path, err)
	}
	for _, x := range e.Xattrs {
		if err := t.id.SetXattrNew(fd, x.Name, x.Value); err != nil {
			return pathError("setting extended attribute "+x.Name+" of", e.Path, err)
		}
	}
	at, name, err := t.parent(e.Path)
	if err != nil {
		return err
	}
	return setTime(at, name, e)
}

// special makes everything but directories and regular files.
func (t *tree) special(e *Entry) error {
	at, name, err := t.parent(e.Path)
	if err != nil {
		return err
	}
	switch e.Type {
	case Symlink:
		err = unix.Symlinkat(e.Link, at, name)
	case Char:
		err = t.id.Device(at, name, unix.S_IFCHR, e.Major, e.Minor)
	case Block:
		err = t.id.Device(at, name, unix.S_IFBLK, e.Major, e.Minor)
	case Fifo:
		err = t.id.Device(at, name, unix.S_IFIFO, 0, 0)
	case Whiteout:
		if err := t.id.Whiteout(at, name); err != nil {
			return pathError("mknod", e.Path, err)
		}
		return nil
	}
	if err != nil {
		return pathError("creating", e.Path, err)
	}
	return t.metadata(at, name, e)
}

// directory sets the metadata of a directory, when everything in it is made.
func (t *tree) directory(e *Entry) error {
	if e.Path == "" {
		return t.metadata(t.root, ".", e)
	}
	at, name, err := t.parent(e.Path)
	if err != nil {
		return err
	}
	return t.metadata(at, name, e)
}

// metadata sets owner, mode, attributes and time of a file that cannot or should not be opened.
func (t *tree) metadata(at int, name string, e *Entry) error {
	if err := t.id.Own(at, name, ownerOf(e)); err != nil {
		return pathError("chown", e.Path, err)
	}
	if e.Type != Symlink { // just made as what it is, hence not followed
		if err := unix.Fchmodat(at, name, e.Mode, 0); err != nil {
			return pathError("chmod", e.Path, err)
		}
	}
	for _, x := range e.Xattrs {
		if err := t.id.SetXattr(atPath(at, name), x.Name, x.Value); err != nil {
			return pathError("setting extended attribute "+x.Name+" of", e.Path, err)
		}
	}
	if e.Opaque {
		if err := t.id.MarkOpaque(atPath(at, name)); err != nil {
			return pathError("setting extended attribute "+t.id.OpaqueMark()+" of", e.Path, err)
		}
	}
	return setTime(at, name, e)
}

func ownerOf(e *Entry) identity.Owner { return identity.Owner{UID: e.UID, GID: e.GID} }

func setTime(at int, name string, e *Entry) error {
	ts := unix.Timespec{Sec: e.ModTime}
	if err := unix.UtimesNanoAt(at, name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return pathError("setting the time of", e.Path, err)
	}
	return nil
}

// link makes a hard link.
func (t *tree) link(e *Entry) error {
	path, target := e.Path, e.Link
	at, name, err := t.parent(path)
	if err != nil {
		return err
	}
	from, err := openBeneath(t.root, Parent(target), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	if err := unix.Linkat(from, target[strings.LastIndexByte(target, '/')+1:], at, name, 0); err != nil {
		return pathError("hard link", path, err)
	}
	return nil
}

// remove takes away whatever is at a path.
func (t *tree) remove(path string) error {
	at, name, err := t.parent(path)
	if err != nil {
		return err
	}
	dir, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", at))
	if err != nil {
		return pathError("remove", path, err)
	}
	defer dir.Close()
	t.close()
	return dir.RemoveAll(name)
}

// rename moves a file; both parents are there.
func (t *tree) rename(from, to string) error {
	at, name, err := t.parent(to)
	if err != nil {
		return err
	}
	dir, err := openBeneath(t.root, Parent(from), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := unix.Renameat(dir, from[strings.LastIndexByte(from, '/')+1:], at, name); err != nil {
		return pathError("rename", from, err)
	}
	return nil
}

// pathError says what can be done where something can.
func pathError(op, path string, err error) error {
	err = &fs.PathError{Op: op, Path: clip(path), Err: err}
	switch {
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w; unpacking a layer needs root, or a user name space (strata info)", err)
	case errors.Is(err, unix.ENOTSUP):
		return fmt.Errorf("%w; keep the store on a file system that has them, such as ext4, xfs or btrfs", err)
	}
	return err
}

// sumWriter is a file that sums what is written to it and leaves holes where whole blocks are zero.
type sumWriter struct {
	f    *os.File
	sum  hash.Hash // may be nil
	hole bool
}

func (w *sumWriter) Write(p []byte) (int, error) {
	if w.sum != nil {
		w.sum.Write(p)
	}
	if len(p) >= 4096 && allZero(p) {
		w.hole = true
		_, err := w.f.Seek(int64(len(p)), 1)
		return len(p), err
	}
	w.hole = false
	return w.f.Write(p)
}

// end gives a file its length where it ends in a hole.
func (w *sumWriter) end(size int64) error {
	if !w.hole {
		return nil
	}
	return w.f.Truncate(size)
}

func allZero(p []byte) bool {
	for len(p) >= 8 {
		if p[0]|p[1]|p[2]|p[3]|p[4]|p[5]|p[6]|p[7] != 0 {
			return false
		}
		p = p[8:]
	}
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}
