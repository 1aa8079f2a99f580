package export

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store/disk"
)

// directory is a directory of the person's that files are written into.
//
// The names come from an image, and what is there already may be anybody's. Everything is done beneath an os.Root,
// so nothing outside the directory can be reached, and what is in a file's place is replaced and not followed: a
// link to a directory in the place of a directory becomes a directory. Files belong to whoever runs strata, as with
// buildx. Since that is often root, and an image may be anybody's, nothing that is written gives rights: files lose
// setuid, setgid and the kernel's own extended attributes (capabilities), and device nodes are left out.
type directory struct {
	root *os.Root
	// at is the directory that was used last, for most files follow their siblings.
	at     *os.Root
	fd     *os.File
	atPath string

	dirs    []*layer.Entry // whose metadata comes last, since what is made in them changes their times
	written int64
	report  func(n int64)
	// devices are the paths of device nodes, which are left out.
	devices []string
}

func openDirectory(name string) (*directory, error) {
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	return &directory{root: root, report: func(int64) {}}, nil
}

func (d *directory) close() {
	d.leave()
	d.root.Close()
}

func (d *directory) leave() {
	if d.at != nil {
		d.at.Close()
		d.fd.Close()
		d.at = nil
	}
}

// parent opens the directory that holds a path. It was made, or found to be no link, when its own entry came.
func (d *directory) parent(name string) (*os.Root, error) {
	dir := path.Join(".", layer.Parent(name))
	if d.at != nil && d.atPath == dir {
		return d.at, nil
	}
	d.leave()
	at, err := d.root.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	fd, err := at.Open(".")
	if err != nil {
		at.Close()
		return nil, err
	}
	d.at, d.fd, d.atPath = at, fd, dir
	return at, nil
}

// write writes all files. Directories get their metadata by finish.
func (d *directory) write(ctx context.Context, f *files) error {
	for _, e := range f.toc.Entries {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if e.Type == layer.Char || e.Type == layer.Block {
			d.devices = append(d.devices, e.Path)
			continue
		}
		at, err := d.parent(e.Path)
		if err != nil {
			return err
		}
		name := path.Base(e.Path)
		switch e.Type {
		case layer.Dir:
			err = d.mkdir(at, name, e)
		case layer.File:
			err = d.file(ctx, at, name, e, f.open)
		case layer.Hardlink:
			err = replace(at, name, func(tmp string) error { return d.link(e.Link, tmp) })
		default:
			err = replace(at, name, func(tmp string) error { return d.special(at, tmp, e) })
		}
		if err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	return nil
}

func (d *directory) mkdir(at *os.Root, name string, e *layer.Entry) error {
	d.dirs = append(d.dirs, e)
	st, err := at.Lstat(name)
	switch {
	case err == nil && st.IsDir():
		return nil
	case err == nil:
		err = at.Remove(name)
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	if err != nil {
		return err
	}
	return at.Mkdir(name, 0o700)
}

// replace puts what is made under another name into the place of whatever has the name. Only a directory has to go
// first, with what is in it.
func replace(at *os.Root, name string, create func(tmp string) error) error {
	tmp := ".strata-" + rand.Text()
	if err := create(tmp); err != nil {
		return errors.Join(err, removeIfThere(at, tmp))
	}
	if st, err := at.Lstat(name); err == nil && st.IsDir() {
		if err := at.RemoveAll(name); err != nil {
			return errors.Join(err, at.Remove(tmp))
		}
	}
	if err := at.Rename(tmp, name); err != nil {
		return errors.Join(err, at.Remove(tmp))
	}
	// rename(2) of one link of a file to another does nothing, and leaves both.
	return removeIfThere(at, tmp)
}

func removeIfThere(at *os.Root, name string) error {
	if err := at.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d *directory) file(ctx context.Context, at *os.Root, name string, e *layer.Entry, open layer.OpenFunc) error {
	return disk.ReplaceIn(d.fd, name, 0o600, func(f *os.File) error {
		from, err := open(ctx, e)
		if err != nil {
			return err
		}
		defer from.Close()
		n, err := io.CopyBuffer(f, struct{ io.Reader }{from}, make([]byte, 128<<10))
		d.written += n
		d.report(d.written)
		if err != nil {
			return err
		}
		if err := f.Chmod(fileMode(e.Mode)); err != nil {
			return err
		}
		for _, x := range e.Xattrs {
			if !strings.HasPrefix(x.Name, "user.") {
				continue
			}
			if err := unix.Fsetxattr(int(f.Fd()), x.Name, []byte(x.Value), 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
				return fmt.Errorf("setting the extended attribute %s: %w", x.Name, err)
			}
		}
		ts := unix.NsecToTimeval(e.ModTime * int64(time.Second))
		if err := unix.Futimes(int(f.Fd()), []unix.Timeval{ts, ts}); err != nil {
			return err
		}
		if st, err := at.Lstat(name); err == nil && st.IsDir() {
			return at.RemoveAll(name)
		}
		return nil
	})
}

// link makes a hard link in the directory that is open to a file that was written before.
func (d *directory) link(target, tmp string) error {
	return d.root.Link(target, path.Join(d.atPath, tmp))
}

func (d *directory) special(at *os.Root, tmp string, e *layer.Entry) error {
	fd := int(d.fd.Fd())
	var err error
	switch e.Type {
	case layer.Symlink:
		err = at.Symlink(e.Link, tmp)
	case layer.Fifo:
		err = unix.Mknodat(fd, tmp, unix.S_IFIFO|0o600, 0)
	}
	if err == nil && e.Type != layer.Symlink {
		err = unix.Fchmodat(fd, tmp, e.Mode&0o1777, 0) // just made, and no link
	}
	if err != nil {
		return err
	}
	ts := unix.Timespec{Sec: e.ModTime}
	return unix.UtimesNanoAt(fd, tmp, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

// finish gives the directories their metadata, the innermost first.
func (d *directory) finish() error {
	for _, e := range slices.Backward(d.dirs) {
		f, err := d.root.OpenFile(e.Path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		err = errors.Join(f.Chown(os.Geteuid(), os.Getegid()), f.Chmod(fileMode(e.Mode)))
		ts := unix.NsecToTimeval(e.ModTime * int64(time.Second))
		err = errors.Join(err, unix.Futimes(int(f.Fd()), []unix.Timeval{ts, ts}), f.Close())
		if err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	return nil
}

// removeOthers removes what the table of contents does not have.
func (d *directory) removeOthers(t *layer.TOC) error {
	d.leave()
	return fs.WalkDir(d.root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || name == "." || t.Lookup(name) != nil {
			return err
		}
		if err := d.root.RemoveAll(name); err != nil {
			return err
		}
		if e.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
}

// fileMode is what of a mode a file in the directory has, as package os has it: no setuid and no setgid.
func fileMode(mode uint32) os.FileMode {
	m := os.FileMode(mode & 0o777)
	if mode&unix.S_ISVTX != 0 {
		m |= os.ModeSticky
	}
	return m
}
