package plainroot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer/identity"
	"github.com/strata-build/strata/internal/sandbox/runner"
	"github.com/strata-build/strata/internal/sandbox/workspace"
)

// Thing is what a process is to see at a path.
type Thing struct {
	// Put makes it at a path of this machine where nothing is.
	Put func(at string) error
	// Take takes it from there, when the process has ended; nil removes it.
	Take func(at string) error
}

// placed is a thing in a root, with what it hides. No process of a step runs while things are put in or taken out, so
// nobody changes a path on the way; a step may have moved directories in between, hence the open one.
type placed struct {
	Thing
	parent *os.File
	dir    string // its path, where it was
	name   string
	aside  string   // what was there before; "" for nothing
	made   []string // directories made for it, by their paths in the root
}

// Place puts a thing into the root, and what is there already aside. Links in target lead nowhere out of the root.
func (r *Root) Place(target string, thing Thing) error {
	r.used = true
	path, err := securejoin.SecureJoin(r.Dir(), target)
	if err != nil {
		return err
	}
	if path == r.Dir() {
		return errors.New("nothing can be put on the root itself, where nothing can be mounted")
	}
	p := &placed{Thing: thing, dir: filepath.Dir(path), name: filepath.Base(path)}
	if p.made, err = r.makeParents(filepath.Dir(path)); err != nil {
		return err
	}
	if p.parent, err = os.Open(filepath.Dir(path)); err != nil {
		return err
	}
	r.placed = append(r.placed, p)
	return keepTimes(p.parent, func() error {
		if _, err := os.Lstat(path); err == nil {
			aside := filepath.Join(r.folder, "aside")
			if err := os.Mkdir(aside, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
			p.aside = filepath.Join(aside, strconv.Itoa(len(r.placed)))
			if err := os.Rename(path, p.aside); err != nil {
				return err
			}
		}
		return thing.Put(path)
	})
}

// makeParents makes what is missing of a directory of the root, and returns what it made by the paths in the root, the
// topmost first.
func (r *Root) makeParents(dir string) (made []string, err error) {
	rest := strings.TrimPrefix(strings.TrimPrefix(dir, r.Dir()), "/")
	at := r.Dir()
	for name := range strings.SplitSeq(rest, "/") {
		if name == "" {
			continue
		}
		parent := at
		at = filepath.Join(at, name)
		if _, err := os.Lstat(at); err == nil {
			continue
		}
		err := inDir(parent, func() error { return workspace.Mkdir(at, 0o755) })
		if err != nil {
			return made, err
		}
		made = append(made, strings.TrimPrefix(at, r.Dir()+"/"))
	}
	return made, nil
}

// inDir keeps the times of a directory in which something is made or removed.
func inDir(dir string, change func() error) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return keepTimes(f, change)
}

func keepTimes(dir *os.File, change func() error) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return err
	}
	err := change()
	return errors.Join(err, unix.UtimesNanoAt(int(dir.Fd()), ".", []unix.Timespec{st.Atim, st.Mtim}, 0))
}

// Clear takes all things out again, and puts back what they hid. Where a step removed the directory that one was in,
// nothing is to be put back.
func (r *Root) Clear() error {
	var errs []error
	for len(r.placed) > 0 {
		last := r.placed[len(r.placed)-1]
		r.placed = r.placed[:len(r.placed)-1]
		errs = append(errs, last.clear(), r.removeMade(last.made))
	}
	return errors.Join(errs...)
}

func (p *placed) clear() error {
	defer p.parent.Close()
	at := fmt.Sprintf("/proc/self/fd/%d/%s", p.parent.Fd(), p.name)
	return keepTimes(p.parent, func() error {
		if p.Take != nil {
			if err := p.Take(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		} else if err := os.RemoveAll(at); err != nil {
			return err
		}
		if p.aside == "" {
			return nil
		}
		err := os.Rename(p.aside, at)
		if errors.Is(err, fs.ErrNotExist) {
			return os.RemoveAll(p.aside)
		}
		return err
	})
}

// removeMade removes directories that were made, the last one first. Where a step put something into one, it stays; where
// it put a link in the place of one, nothing behind that is touched.
func (r *Root) removeMade(made []string) error {
	if len(made) == 0 {
		return nil
	}
	root, err := os.OpenRoot(r.Dir())
	if err != nil {
		return err
	}
	defer root.Close()
	for _, name := range slices.Backward(made) {
		st, err := root.Lstat(name)
		if err != nil || !st.IsDir() {
			continue
		}
		parent, err := root.Open(filepath.Dir(name))
		if err != nil {
			continue
		}
		err = keepTimes(parent, func() error {
			_ = unix.Unlinkat(int(parent.Fd()), filepath.Base(name), unix.AT_REMOVEDIR)
			return nil
		})
		parent.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// Moved is a file or directory of the same file system that goes with the root.
func Moved(from string) Thing {
	return Thing{Put: func(at string) error { return os.Rename(from, at) }}
}

// Lent is a directory of the same file system that is in the root meanwhile. An empty one is in its place, which stays
// there if this process is killed, or if a step puts something else where the directory was.
func Lent(from string) Thing {
	exchange := func(at string) error {
		return unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, at, unix.RENAME_EXCHANGE)
	}
	return Thing{
		Put: func(at string) error {
			if err := workspace.Mkdir(at, 0o755); err != nil {
				return err
			}
			return exchange(at)
		},
		Take: func(at string) error {
			// A step may have put anything in its place. What is no directory does not become the store's.
			st, err := os.Lstat(at)
			if err != nil {
				return err
			}
			if st.IsDir() {
				if err := exchange(at); err != nil {
					return err
				}
			}
			return os.RemoveAll(at)
		},
	}
}

// Linked is one more name of a socket of the same file system.
func Linked(socket string) Thing {
	return Thing{Put: func(at string) error { return os.Link(socket, at) }}
}

// Folder is a new, empty directory.
func Folder(mode fs.FileMode) Thing {
	return Thing{Put: func(at string) error { return workspace.Mkdir(at, mode) }}
}

// File is a file with contents.
func File(data []byte, mode uint32, owner identity.Owner) Thing {
	return Thing{Put: func(at string) error {
		f, err := os.OpenFile(at, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := f.Write(data); err != nil {
			return err
		}
		if err := identity.Current().OwnNew(int(f.Fd()), owner); err != nil {
			return err
		}
		return unix.Fchmod(int(f.Fd()), mode)
	}}
}

// Devices is a /dev. Nodes that cannot be made, or that do not open here, are empty files: processes are given the
// machine's as long as the kernel asks what their paths mean.
func Devices() Thing {
	return Thing{Put: func(at string) error {
		if err := workspace.Mkdir(at, 0o755); err != nil {
			return err
		}
		for name, minor := range map[string]uint32{"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9} {
			if err := node(filepath.Join(at, name), 1, minor); err != nil {
				return err
			}
		}
		if err := node(filepath.Join(at, "tty"), 5, 0); err != nil {
			return err
		}
		for name, link := range map[string]string{
			"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx",
		} {
			if err := os.Symlink(link, filepath.Join(at, name)); err != nil {
				return err
			}
		}
		return errors.Join(workspace.Mkdir(filepath.Join(at, "pts"), 0o755), workspace.Mkdir(filepath.Join(at, "shm"), 0o777|fs.ModeSticky))
	}}
}

func node(path string, major, minor uint32) error {
	err := unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(major, minor)))
	if err == nil {
		fd, oerr := unix.Open(path, unix.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if oerr == nil || errors.Is(oerr, unix.ENXIO) { // no terminal
			unix.Close(fd)
			return os.Chmod(path, 0o666) // whatever the umask
		}
		_ = os.Remove(path)
	}
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		return err
	}
	return os.Chmod(path, 0o666)
}

// Furnish puts into the root what every process sees: devices, and the files that are the machine's. In /proc and /sys
// is nothing: the kernel asks the process's keeper what is there.
func (r *Root) Furnish(s runner.Spec) error {
	files, err := runner.PlainFiles(s)
	if err != nil {
		return err
	}
	for target, thing := range map[string]Thing{"/proc": Folder(0o555), "/sys": Folder(0o555), "/dev": Devices()} {
		if err := r.Place(target, thing); err != nil {
			return fmt.Errorf("preparing %s: %w", target, err)
		}
	}
	for target, file := range files {
		if err := r.Place(target, Moved(file)); err != nil {
			return fmt.Errorf("preparing %s: %w", target, err)
		}
	}
	return nil
}

// MakeDir makes a directory that is missing, and its parents, as a part of what the process changes.
func (r *Root) MakeDir(name string) error {
	r.used = true
	path, err := securejoin.SecureJoin(r.Dir(), name)
	if err != nil {
		return err
	}
	_, err = r.makeParents(path)
	return err
}

// Last is the path on this machine of what was put in last.
func (r *Root) Last() string {
	p := r.placed[len(r.placed)-1]
	return filepath.Join(p.dir, p.name)
}
