package runner

import (
	"encoding/binary"
	"errors"
	"path"
	"strings"
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
	a.asAsker()
	// A pipe without another end would keep this thread.
	fd, err := unix.Open(a.file, int(flags)&^(unix.O_CREAT|unix.O_EXCL)|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	a.as(0, 0)
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
	if !errors.Is(err, unix.EINVAL) {
		return 0, errAnswered // also where whoever asked was killed
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

// noFollowAlways in place of an argument's number is lstat(2).
const noFollowAlways = -2

func (a *answerer) stat(c *pathCall) (int64, error) {
	var st unix.Stat_t
	a.asAsker()
	err := unix.Fstatat(unix.AT_FDCWD, a.file, &st, a.noFollow(c))
	a.as(0, 0)
	if err != nil {
		return 0, err
	}
	return 0, a.write(unsafe.Slice((*byte)(unsafe.Pointer(&st)), unsafe.Sizeof(st)), a.n.args[c.buf])
}

func (a *answerer) statx(c *pathCall) (int64, error) {
	var st unix.Statx_t
	a.asAsker()
	err := unix.Statx(unix.AT_FDCWD, a.file, a.noFollow(c), int(uint32(a.n.args[c.size])), &st)
	a.as(0, 0)
	if err != nil {
		return 0, err
	}
	return 0, a.write(unsafe.Slice((*byte)(unsafe.Pointer(&st)), unsafe.Sizeof(st)), a.n.args[c.buf])
}

func (a *answerer) statfs(c *pathCall) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(a.file, &st); err != nil {
		return 0, err
	}
	return 0, a.write(unsafe.Slice((*byte)(unsafe.Pointer(&st)), unsafe.Sizeof(st)), a.n.args[c.buf])
}

func (a *answerer) access(c *pathCall) (int64, error) {
	a.asAsker()
	err := unix.Faccessat(unix.AT_FDCWD, a.file, uint32(a.n.args[c.flags]), unix.AT_EACCESS)
	a.as(0, 0)
	return 0, err
}

// readlink gives the paths of the step's root as the step knows them.
func (a *answerer) readlink(c *pathCall) (int64, error) {
	buf := make([]byte, unix.PathMax)
	a.asAsker()
	n, err := unix.Readlink(a.file, buf)
	a.as(0, 0)
	if err != nil {
		return 0, err
	}
	target := string(buf[:n])
	if rest, ok := strings.CutPrefix(target, a.config.Root); ok && (rest == "" || rest[0] == '/') {
		target = path.Join("/", rest)
	}
	size := min(uint64(len(target)), a.n.args[c.size])
	if size == 0 {
		return 0, unix.EINVAL
	}
	return int64(size), a.write([]byte(target)[:size], a.n.args[c.buf])
}
