package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"
)

// mountPoints are the files and directories on which something gets mounted in a container.
//
// An image need not have them, and what the sandbox makes for itself must not get into a layer. So they are made
// here, before libcontainer would, and those that are still empty afterwards are removed again. A mount point
// that exists is only looked up: an overlay copies nothing up for it.
type mountPoints struct {
	mounts []*configs.Mount // the binds, with their sources

	root    *os.Root
	made    []string            // relative to root, parents first
	touched map[string]dirTimes // directories that existed and have new entries
}

// dirTimes are the times of a directory before and after a mount point was made in it.
type dirTimes struct{ atime, before, after time.Time }

// makeMountPoints makes what s needs and the root file system lacks, and has the Files of s say where they are. The
// caller has to call remove.
func makeMountPoints(s Spec) (_ *mountPoints, err error) {
	root, err := os.OpenRoot(s.Rootfs)
	if err != nil {
		return nil, fmt.Errorf("open the root file system: %w", err)
	}
	p := &mountPoints{root: root, touched: map[string]dirTimes{}}
	defer func() {
		if err != nil {
			_ = p.remove()
		}
	}()
	for _, dir := range []string{"/proc", "/dev", "/sys"} {
		if err := p.make(dir, true); err != nil {
			return nil, err
		}
	}
	files, err := generateFiles(s)
	if err != nil {
		return nil, err
	}
	for _, b := range append(files, s.Binds...) {
		if err := p.bind(s.Rootfs, b); err != nil {
			return nil, err
		}
	}
	for i := range s.Files {
		// With what symbolic links of the image lead to: something may be mounted on that.
		if s.Files[i].Target, err = p.point(s.Rootfs, s.Files[i].Target, false); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// bind adds one bind mount, and its mount point.
func (p *mountPoints) bind(rootfs string, b Bind) error {
	dir := b.Tmpfs
	if !b.Tmpfs {
		info, err := os.Stat(b.Source)
		if err != nil {
			return fmt.Errorf("bind mount on %s: %w", b.Target, err)
		}
		dir = info.IsDir()
	}
	target, err := p.point(rootfs, b.Target, dir)
	if err != nil {
		return err
	}
	m, err := b.mount(target)
	if err != nil {
		return fmt.Errorf("bind mount on %s: %w", b.Target, err)
	}
	if b.Tmpfs && slices.Contains(p.made, strings.TrimPrefix(target, "/")) {
		// libcontainer gives a tmpfs the mode of its mount point, if that is there, and else leaves
		// it to the kernel. The last of two modes counts.
		m.Data = strings.TrimPrefix(m.Data+",mode=1777", ",")
	}
	p.mounts = append(p.mounts, m)
	return nil
}

// point makes the mount point of target, and returns where in rootfs it is.
func (p *mountPoints) point(rootfs, target string, dir bool) (string, error) {
	// The image decides what is a symlink here, and it may point anywhere, even to what is not there yet.
	found, err := securejoin.SecureJoin(rootfs, target)
	if errors.Is(err, unix.ELOOP) {
		return "", fmt.Errorf("mount point %s: the symbolic links of the root file system lead in a circle", target)
	}
	if err != nil {
		return "", fmt.Errorf("bind mount on %s: %w", target, err)
	}
	found = filepath.Join("/", strings.TrimPrefix(found, filepath.Clean(rootfs)))
	if found == "/" {
		return "", fmt.Errorf("bind mount on %s: this is the root file system: choose a directory in it", target)
	}
	if under(found, "/dev") || under(found, "/proc") || under(found, "/sys") {
		return found, nil
	}
	return found, p.make(found, dir)
}

// mount puts b into libcontainer's terms. All are mounted without devices: see deviceMounts.
func (b Bind) mount(target string) (*configs.Mount, error) {
	m := &configs.Mount{Source: "tmpfs", Destination: target, Device: "tmpfs", Flags: unix.MS_NOSUID | unix.MS_NODEV}
	if b.Size > 0 {
		m.Data = "size=" + strconv.FormatInt(b.Size, 10)
	}
	if !b.Tmpfs {
		source, err := filepath.Abs(b.Source)
		if err != nil {
			return nil, err
		}
		m = &configs.Mount{
			Source: source, Destination: target, Device: "bind", Flags: unix.MS_BIND | unix.MS_REC | unix.MS_NODEV,
			PropagationFlags: []int{unix.MS_PRIVATE | unix.MS_REC},
		}
	}
	if b.ReadOnly {
		m.Flags |= unix.MS_RDONLY
	}
	return m, nil
}

// under says whether path is dir or in it.
func under(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, dir+"/")
}

// make makes path, which has no symlinks in it, and its parents where they are missing.
func (p *mountPoints) make(path string, dir bool) error {
	name := strings.TrimPrefix(path, "/")
	if _, err := p.root.Lstat(name); err == nil {
		return nil
	} else if errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("mount point %s: something on its path is no directory in the root file system", path)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("mount point %s: %w", path, err)
	}
	parent := filepath.Dir(name)
	if parent != "." {
		if err := p.make("/"+parent, true); err != nil {
			return err
		}
	}
	times, err := p.times(parent)
	if err != nil {
		return fmt.Errorf("mount point %s: %w", path, err)
	}
	if dir {
		err = makeIn(p.root, name)
	} else {
		err = p.createFile(name)
	}
	if err != nil {
		return fmt.Errorf("make mount point %s: %w", path, err)
	}
	p.made = append(p.made, name)
	return p.touch(parent, times)
}

func (p *mountPoints) createFile(name string) error {
	f, err := p.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(f.Chmod(0o644), f.Close()) // whatever the umask
}

// makeIn makes a directory 0755 whatever the umask: any user of the container may go through it.
func makeIn(root *os.Root, name string) error {
	if err := root.Mkdir(name, 0o755); err != nil {
		return err
	}
	return root.Chmod(name, 0o755)
}

// touch remembers the times of dir, which just got an entry and had them before.
func (p *mountPoints) touch(dir string, before dirTimes) error {
	if slices.Contains(p.made, dir) {
		return nil
	}
	after, err := p.times(dir)
	if err != nil {
		return err
	}
	if first, ok := p.touched[dir]; ok {
		before = first
	}
	p.touched[dir] = dirTimes{before.atime, before.before, after.before}
	return nil
}

func (p *mountPoints) times(dir string) (dirTimes, error) {
	info, err := p.root.Lstat(dir)
	if err != nil {
		return dirTimes{}, err
	}
	atim := info.Sys().(*syscall.Stat_t).Atim
	return dirTimes{atime: time.Unix(atim.Unix()), before: info.ModTime()}, nil
}

// remove takes back what make made and nobody used, and gives the directories that only we changed their
// old times. Others keep the time of their own last change.
//
// The container may have put something else in the place of a directory on the way, even a link that leads
// anywhere: what is there now is looked up as the container would, within the root file system, as BuildKit does
// (its executor.MountStubsCleaner). The container has ended, so nothing changes meanwhile.
func (p *mountPoints) remove() error {
	defer p.root.Close()
	var stubs []string
	now := map[string]dirTimes{}
	note := func(dir string) {
		if _, ok := now[dir]; ok {
			return
		}
		if times, err := p.times(dir); err == nil {
			now[dir] = times
		}
	}
	for _, name := range slices.Backward(p.made) {
		stub, err := p.lookup(name)
		if err != nil {
			continue // nothing can be there
		}
		stubs = append(stubs, stub)
		note(filepath.Dir(stub))
	}
	for dir := range p.touched {
		note(dir)
	}
	for _, name := range stubs {
		if err := p.removeStub(name); err != nil {
			return fmt.Errorf("remove mount point /%s: %w", name, err)
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(now)) {
		if err := p.restoreTimes(dir, now[dir]); err != nil {
			return fmt.Errorf("restore the times of /%s: %w", dir, err)
		}
	}
	return nil
}

// lookup is where name is now, relative to the root, with no symbolic link on the way; name itself may be one, and need
// not be there. It is an error if the links on the way have no end.
func (p *mountPoints) lookup(name string) (string, error) {
	rootfs := filepath.Clean(p.root.Name())
	parent, err := securejoin.SecureJoin(rootfs, filepath.Dir(name))
	if err != nil {
		return "", err
	}
	return filepath.Rel(rootfs, filepath.Join(parent, filepath.Base(name)))
}

// restoreTimes gives dir the times that it had before there were mount points in it, or, where somebody else changed
// it, those of now.
func (p *mountPoints) restoreTimes(dir string, now dirTimes) error {
	info, err := p.root.Lstat(dir)
	if err != nil || !info.IsDir() {
		return nil // a mount point of ours that is gone, or what the container put in the directory's place
	}
	atime, mtime := now.atime, now.before
	if then, ok := p.touched[dir]; ok {
		atime = then.atime
		if mtime.Equal(then.after) {
			mtime = then.before
		}
	}
	return p.root.Chtimes(dir, atime, mtime)
}

// removeStub removes an empty file or directory; one that somebody put something into stays.
func (p *mountPoints) removeStub(name string) error {
	info, err := p.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ENAMETOOLONG) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.IsDir() && (!info.Mode().IsRegular() || info.Size() != 0) {
		return nil
	}
	err = p.root.Remove(name)
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}
