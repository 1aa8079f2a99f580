package supervisor

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// place is where the supervisor's thread is: in the container's mount name space, with its root as its own, and with
// strata's /proc as the working directory. A path that does not begin with a slash is taken from an open directory of
// the process that asks, never from there.
type place struct {
	home int // strata's mount name space
	proc int // strata's /proc
	root int // the container's root
	stat unix.Stat_t
}

// enter takes the thread into the container. The thread must end afterwards (leave).
func (p *place) enter(pid int) (err error) {
	p.home, p.proc, p.root = -1, -1, -1
	open := func(path string, flags int) int {
		fd, oerr := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if oerr != nil {
			err = errors.Join(err, &os.PathError{Op: "open", Path: path, Err: oerr})
			return -1
		}
		return fd
	}
	p.home = open("/proc/thread-self/ns/mnt", unix.O_RDONLY)
	p.proc = open("/proc", unix.O_PATH|unix.O_DIRECTORY)
	mounts := open(fmt.Sprintf("/proc/%d/ns/mnt", pid), unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer unix.Close(mounts)
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Setns(mounts, unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("entering the container's mount name space: %w", err)
	}
	unix.Umask(0)
	if err := unix.Fchdir(p.proc); err != nil {
		return fmt.Errorf("entering /proc: %w", err)
	}
	if p.root = open(fmt.Sprintf("%d/root", pid), unix.O_PATH|unix.O_DIRECTORY); err != nil {
		return err
	}
	if err := unix.Fstat(p.root, &p.stat); err != nil {
		return fmt.Errorf("looking at the container's root: %w", err)
	}
	return p.chroot(p.root)
}

// leave takes the thread out of the container, so that nothing of it is in use.
func (p *place) leave() {
	if p.home >= 0 {
		_ = unix.Setns(p.home, unix.CLONE_NEWNS)
	}
	for _, fd := range []int{p.home, p.proc, p.root} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

func (p *place) chroot(root int) error {
	if err := unix.Fchdir(root); err != nil {
		return err
	}
	return errors.Join(unix.Chroot("."), unix.Fchdir(p.proc))
}

// as takes on the root of a process, which may have called chroot(2). What it returns takes the container's again.
func (p *place) as(pid uint32) (restore func(), err error) {
	name := fmt.Sprintf("%d/root", pid)
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		return nil, err
	}
	if st.Dev == p.stat.Dev && st.Ino == p.stat.Ino {
		return func() {}, nil
	}
	root, err := unix.Open(name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(root)
	if err := p.chroot(root); err != nil {
		return nil, errors.Join(err, p.chroot(p.root))
	}
	return func() { _ = p.chroot(p.root) }, nil
}
