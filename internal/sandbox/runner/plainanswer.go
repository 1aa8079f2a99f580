package runner

import (
	"encoding/binary"
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// open gives the process the file.
func (a *answerer) open(c *pathCall) (int64, error) {
	flags := a.n.args[c.flags]
	if c.size >= 0 { // openat2: flags lie in memory
		var how [8]byte
		if _, err := a.read(how[:], flags); err != nil {
			return 0, unix.EFAULT
		}
		flags = binary.NativeEndian.Uint64(how[:])
	}
	// A pipe without another end would keep this thread. The link of /proc to an opened file is ours.
	wanted := int(flags)&^(unix.O_CREAT|unix.O_EXCL) | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY
	if a.found.fd >= 0 {
		wanted &^= unix.O_NOFOLLOW
	}
	fd := -1
	err := a.as(a.who, func() (err error) { fd, err = unix.Open(a.found.file, wanted, 0); return err })
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	if flags&(unix.O_NONBLOCK|unix.O_PATH) == 0 {
		if now, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err == nil {
			_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFL, now&^unix.O_NONBLOCK)
		}
	}
	add := addedFD{id: a.n.id, src: uint32(fd), flags: addAndSend, fdFlags: uint32(flags) & unix.O_CLOEXEC}
	err = listenerCall(a.listener, notifyAddFD, unsafe.Pointer(&add))
	if err == nil || errors.Is(err, unix.ENOENT) {
		return 0, errAnswered // or whoever asked was killed
	}
	if !errors.Is(err, unix.EINVAL) {
		return 0, err // as EMFILE, where it has as many as it may
	}
	// Before Linux 5.14 it takes two calls.
	add.flags = 0
	number, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(a.listener), notifyAddFD, uintptr(unsafe.Pointer(&add)))
	if errno != 0 {
		return 0, errno
	}
	return int64(number), nil
}

// noFollow says whether the last link of a path is meant itself.
func (a *answerer) noFollow(c *pathCall) int {
	if c.flags == noFollowAlways || c.flags >= 0 && a.n.args[c.flags]&unix.AT_SYMLINK_NOFOLLOW != 0 {
		return unix.AT_SYMLINK_NOFOLLOW
	}
	return 0
}

// foundNoFollow is noFollow for what was found: the link of /proc to an opened file is ours.
func (a *answerer) foundNoFollow(c *pathCall) int {
	if a.found.fd >= 0 {
		return 0
	}
	return a.noFollow(c)
}

// noFollowAlways in place of an argument's number is lstat(2).
const noFollowAlways = -2

func (a *answerer) stat(c *pathCall) (int64, error) {
	var st unix.Stat_t
	err := a.as(a.who, func() error { return unix.Fstatat(unix.AT_FDCWD, a.found.file, &st, a.foundNoFollow(c)) })
	if err != nil {
		return 0, err
	}
	return 0, a.write(unsafe.Slice((*byte)(unsafe.Pointer(&st)), unsafe.Sizeof(st)), a.n.args[c.buf])
}

func (a *answerer) statx(c *pathCall) (int64, error) {
	var st unix.Statx_t
	err := a.as(a.who, func() error {
		return unix.Statx(unix.AT_FDCWD, a.found.file, a.foundNoFollow(c), int(uint32(a.n.args[c.size])), &st)
	})
	if err != nil {
		return 0, err
	}
	return 0, a.write(unsafe.Slice((*byte)(unsafe.Pointer(&st)), unsafe.Sizeof(st)), a.n.args[c.buf])
}

func (a *answerer) statfs(c *pathCall) (int64, error) {
	var st unix.Statfs_t
	if err := a.as(a.who, func() error { return unix.Statfs(a.found.file, &st) }); err != nil {
		return 0, err
	}
	return 0, a.write(unsafe.Slice((*byte)(unsafe.Pointer(&st)), unsafe.Sizeof(st)), a.n.args[c.buf])
}

func (a *answerer) access(c *pathCall) (int64, error) {
	return 0, a.as(a.who, func() error {
		return unix.Faccessat(unix.AT_FDCWD, a.found.file, uint32(a.n.args[c.flags]), unix.AT_EACCESS)
	})
}

// readlink gives the paths of the step's root as the step knows them.
func (a *answerer) readlink(c *pathCall) (int64, error) {
	target := a.found.link
	if target == "" {
		err := a.as(a.who, func() (err error) {
			if a.found.fd >= 0 {
				target, err = readlinkOf(a.found.fd)
			} else {
				target, err = readlink(a.found.file)
			}
			return err
		})
		if err != nil {
			return 0, err
		}
		if inside, ok := a.inside(target); ok && a.found.fd < 0 {
			target = inside
		}
	}
	size := min(uint64(len(target)), a.n.args[c.size])
	if size == 0 {
		return 0, unix.EINVAL
	}
	return int64(size), a.write([]byte(target)[:size], a.n.args[c.buf])
}
