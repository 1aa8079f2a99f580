package supervisor

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// notice is struct seccomp_notif: a system call that waits for its answer.
type notice struct {
	id       uint64
	pid      uint32 // of the thread, as this process sees it
	_        uint32
	number   int32
	arch     uint32
	_        uint64
	argument [6]uint64
}

// reply is struct seccomp_notif_resp.
type reply struct {
	id    uint64
	value int64
	errno int32
	flags uint32
}

// addition is struct seccomp_notif_addfd.
type addition struct {
	id       uint64
	flags    uint32
	from     uint32
	to       uint32
	newFlags uint32
}

// call is a system call that is to be answered.
type call struct {
	*Supervisor
	notice
}

// receive takes the next call; false if its process has ended meanwhile.
func (s *Supervisor) receive() (*call, bool) {
	c := &call{Supervisor: s}
	return c, control(s.listener, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&c.notice)) == nil
}

// send answers a call. Its process may have ended, so that nobody wants to know.
func (s *Supervisor) send(c *call, a answer) {
	r := reply{id: c.id, value: a.value, errno: -int32(a.errno)}
	switch a.kind {
	case sent:
		return
	case passedOn:
		r = reply{id: c.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	}
	_ = control(s.listener, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r))
}

// waits says whether the call's process still waits for the answer: only then is its number not another process's, and
// what was read of it its own.
func (c *call) waits() bool {
	id := c.id
	return control(c.listener, unix.SECCOMP_IOCTL_NOTIF_ID_VALID, unsafe.Pointer(&id)) == nil
}

// give answers a call with a descriptor of the file fd.
func (c *call) give(fd int, closeOnExec bool) answer {
	a := addition{id: c.id, flags: unix.SECCOMP_ADDFD_FLAG_SEND, from: uint32(fd)}
	if closeOnExec {
		a.newFlags = unix.O_CLOEXEC
	}
	if err := control(c.listener, unix.SECCOMP_IOCTL_NOTIF_ADDFD, unsafe.Pointer(&a)); err != nil {
		return fail(err)
	}
	return answer{kind: sent}
}

func control(fd int, request uint, argument unsafe.Pointer) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(argument))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
			continue
		}
		return errno
	}
}
