package copyout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
)

// writer writes entries below a directory of this machine. Modes and times of directories are set at the end, since what is
// written into them changes them.
type writer struct {
	root   *os.Root
	stack  *layer.Stack
	owners bool
	dirs   []writtenDir
}

type writtenDir struct {
	name string
	e    *layer.Entry
}

func (w *writer) write(ctx context.Context, name string, e *layer.Entry) error {
	if e.Type == layer.Dir {
		if name == "." {
			return nil // it was there
		}
		err := w.root.Mkdir(name, 0o700)
		if errors.Is(err, fs.ErrExist) {
			if st, statErr := w.root.Lstat(name); statErr == nil && st.IsDir() {
				err = nil
			}
		}
		w.dirs = append(w.dirs, writtenDir{name, e})
		return err
	}
	if st, err := w.root.Lstat(name); err == nil {
		if st.IsDir() {
			return fmt.Errorf("%s is a directory: nothing else can take its place", name)
		}
		if err := w.root.Remove(name); err != nil {
			return err
		}
	}
	switch e.Type {
	case layer.File:
		if err := w.file(ctx, name, e); err != nil {
			return err
		}
	case layer.Symlink:
		if err := w.root.Symlink(e.Link, name); err != nil {
			return err
		}
	default:
		if err := w.node(name, e); err != nil {
			return err
		}
	}
	return w.describe(name, e)
}

func (w *writer) file(ctx context.Context, name string, e *layer.Entry) error {
	from, err := w.stack.Open(ctx, e)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := w.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close())
}

// node makes a device or a pipe. There is no name space in which to look for a link once the directory is open.
func (w *writer) node(name string, e *layer.Entry) error {
	dir, err := w.root.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	kinds := map[layer.Type]uint32{layer.Char: unix.S_IFCHR, layer.Block: unix.S_IFBLK, layer.Fifo: unix.S_IFIFO}
	return unix.Mknodat(int(dir.Fd()), filepath.Base(name), kinds[e.Type]|0o600, int(unix.Mkdev(e.Major, e.Minor)))
}

// describe sets owner, mode and time.
func (w *writer) describe(name string, e *layer.Entry) error {
	if w.owners {
		if err := w.root.Lchown(name, e.UID, e.GID); err != nil {
			return err
		}
	}
	if e.Type == layer.Symlink {
		return nil
	}
	mode := fs.FileMode(e.Mode & 0o777)
	for bit, flag := range map[uint32]fs.FileMode{unix.S_ISUID: fs.ModeSetuid, unix.S_ISGID: fs.ModeSetgid, unix.S_ISVTX: fs.ModeSticky} {
		if e.Mode&bit != 0 {
			mode |= flag
		}
	}
	if err := w.root.Chmod(name, mode); err != nil {
		return err
	}
	at := time.Unix(e.ModTime, 0)
	return w.root.Chtimes(name, at, at)
}

// finish describes the directories, the innermost first.
func (w *writer) finish() error {
	var failures []error
	for _, d := range slices.Backward(w.dirs) {
		failures = append(failures, w.describe(d.name, d.e))
	}
	return errors.Join(failures...)
}
