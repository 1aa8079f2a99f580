package runner

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// /proc cannot be mounted in a root that is a directory. Programs need it, though: a dynamic linker for $ORIGIN, node,
// java and rustc to find themselves, shells for /dev/stdout. So the kernel asks the keeper about each call that takes a
// path (seccomp_unotify(2)). Where the path begins with /proc, /sys or one of a few names in /dev, the keeper opens it
// in its own root, as the process that asks, and gives it the descriptor or the answer; any other call goes on as it
// is.
//
// This gives no protection and takes none away: the process may change the path after it was read, and gets then what
// the kernel gives it anyway.

// pathCall says what a system call does with a path, and which of its arguments are what.
type pathCall struct {
	kind pathKind
	act  func(a *answerer, c *pathCall) (int64, error)
	path int // the argument with the path
	// flags, buf and size are arguments where act has a use for them; -1 for none.
	flags, buf, size int
}

// pathKind tells the calls apart by what they do with a link.
type pathKind int

const (
	aLook pathKind = iota
	anOpen
	aReadlink
)

// notification is seccomp_notif of the kernel, with seccomp_data in it.
type notification struct {
	id    uint64
	pid   uint32
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

// response is seccomp_notif_resp.
type response struct {
	id    uint64
	val   int64
	err   int32
	flags uint32
}

// addedFD is seccomp_notif_addfd.
type addedFD struct {
	id                          uint64
	flags, src, number, fdFlags uint32
}

// The ioctls of a listener, and their flags (linux/seccomp.h).
const (
	notifyReceive  = 0xc0502100
	notifySend     = 0xc0182101
	notifyIDValid  = 0x40082102
	notifyAddFD    = 0x40182103
	notifySetFlags = 0x40082104
	wakeTogether   = 1
	answerContinue = 1
	addAndSend     = 2
)

func listenerCall(fd int, request uintptr, arg unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
	if errno != 0 {
		return errno
	}
	return nil
}

// askingFilter is the filter that has the kernel ask about pathCalls; nil on machines for which there are none.
func askingFilter() []byte {
	if len(pathCalls) == 0 {
		return nil
	}
	const (
		load, equal, ret = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
		allow, ask       = 0x7fff0000, 0x7fc00000
	)
	program := []unix.SockFilter{
		{Code: load, K: 4}, // the architecture
		{Code: equal, K: auditArchNative, Jt: 1},
		{Code: ret, K: allow},
		{Code: load, K: 0}, // the call's number
	}
	for nr := range pathCalls {
		program = append(program, unix.SockFilter{Code: equal, K: uint32(nr), Jf: 1}, unix.SockFilter{Code: ret, K: ask})
	}
	program = append(program, unix.SockFilter{Code: ret, K: allow})
	var b bytes.Buffer
	_ = binary.Write(&b, binary.NativeEndian, program)
	return b.Bytes()
}

// answerer answers one notification after the other, on a thread of its own.
type answerer struct {
	listener int
	config   *plainConfig
	n        notification
	file     string // what the path means in the keeper's root
	uid, gid uint32 // as whom files are opened now
}

// answerFor answers until nobody is left to ask.
func answerFor(listener int, config *plainConfig) {
	runtime.LockOSThread() // and never unlocked: its user changes
	// The one who asks and this thread wait for each other by turns, and may stay on one processor (from Linux 6.6 on).
	together := uint64(wakeTogether)
	_ = listenerCall(listener, notifySetFlags, unsafe.Pointer(&together))
	a := &answerer{listener: listener, config: config}
	for {
		a.n = notification{}
		err := listenerCall(listener, notifyReceive, unsafe.Pointer(&a.n))
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOENT) {
			continue // whoever asked was killed
		}
		if err != nil {
			return
		}
		a.answer()
	}
}

func (a *answerer) answer() {
	r := response{id: a.n.id, flags: answerContinue}
	call, ok := pathCalls[int(a.n.nr)]
	if ok && a.find(&call) {
		val, err := call.act(a, &call)
		errno := unix.Errno(0)
		switch {
		case errors.Is(err, errAnswered):
			return
		case errors.As(err, &errno):
			r.err, r.flags = -int32(errno), 0
		case err == nil:
			r.val, r.flags = val, 0
		}
	}
	_ = listenerCall(a.listener, notifySend, unsafe.Pointer(&r)) // it may have been killed meanwhile
}

// errAnswered says that an answer was sent already.
var errAnswered = errors.New("answered")

// find reads the path, and says whether it is one of those that the keeper answers for.
func (a *answerer) find(c *pathCall) bool {
	text, ok := a.readPath(a.n.args[c.path])
	if !ok {
		return false
	}
	if a.asksForLink(c) && slices.Contains(ownLinks, path.Clean(text)) {
		return false
	}
	a.file, ok = outside(text, a.n.pid)
	return ok && listenerCall(a.listener, notifyIDValid, unsafe.Pointer(&a.n.id)) == nil
}

// ownLinks are links of the step's root to what is outside of it.
var ownLinks = []string{"/etc/mtab", "/dev/fd", "/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/ptmx"}

// asksForLink says that a call asks for a link itself.
func (a *answerer) asksForLink(c *pathCall) bool {
	switch c.kind {
	case aReadlink:
		return true
	case anOpen:
		flags := a.n.args[c.flags]
		return c.size < 0 && flags&unix.O_NOFOLLOW != 0
	}
	return a.noFollow(c) != 0
}

// outside is what a path of a step means in the keeper's root, if that is where it lies.
func outside(name string, pid uint32) (string, bool) {
	if len(name) < 4 || name[0] != '/' {
		return "", false
	}
	if name == "/etc/mtab" {
		name = "/proc/self/mounts"
	}
	name = path.Clean(name)
	first, rest, _ := strings.Cut(name[1:], "/")
	own := fmt.Sprintf("/proc/%d", pid)
	switch first {
	case "sys":
		return name, true
	case "dev":
		top, below, _ := strings.Cut(rest, "/")
		switch top {
		case "fd":
			return path.Join(own, "fd", below), true
		case "stdin", "stdout", "stderr":
			return path.Join(own, "fd", map[string]string{"stdin": "0", "stdout": "1", "stderr": "2"}[top]), true
		case "pts", "ptmx", "null", "zero", "full", "random", "urandom", "tty":
			return name, true
		}
		return "", false
	case "proc":
	default:
		return "", false
	}
	top, below, _ := strings.Cut(rest, "/")
	switch top {
	case "self":
		return path.Join(own, below), true
	case "thread-self":
		return path.Join(own, "task", strconv.Itoa(int(pid)), below), true
	case "mounts", "net":
		return path.Join(own, top, below), true
	}
	return name, true
}

// readPath reads a string of the process that asks, if its beginning is one of those that matter.
func (a *answerer) readPath(at uint64) (string, bool) {
	var all []byte
	for len(all) < unix.PathMax {
		page := 4096 - int(at%4096)
		buf := make([]byte, min(page, 256))
		n, err := a.read(buf, at)
		if err != nil || n == 0 {
			return "", false
		}
		if end := bytes.IndexByte(buf[:n], 0); end >= 0 {
			return string(append(all, buf[:end]...)), true
		}
		all = append(all, buf[:n]...)
		if len(all) > 0 && all[0] != '/' {
			return "", false
		}
		at += uint64(n)
	}
	return "", false
}

// read reads memory of the process that asks.
func (a *answerer) read(buf []byte, at uint64) (int, error) {
	local := []unix.Iovec{{Base: &buf[0], Len: uint64(len(buf))}}
	remote := []unix.RemoteIovec{{Base: uintptr(at), Len: len(buf)}}
	n, err := unix.ProcessVMReadv(int(a.n.pid), local, remote, 0)
	if err == nil {
		return n, nil
	}
	return a.memory(unix.O_RDONLY, func(fd int) (int, error) { return unix.Pread(fd, buf, int64(at)) })
}

// write writes to it.
func (a *answerer) write(buf []byte, at uint64) error {
	local := []unix.Iovec{{Base: &buf[0], Len: uint64(len(buf))}}
	remote := []unix.RemoteIovec{{Base: uintptr(at), Len: len(buf)}}
	n, err := unix.ProcessVMWritev(int(a.n.pid), local, remote, 0)
	if err != nil {
		n, err = a.memory(unix.O_RDWR, func(fd int) (int, error) { return unix.Pwrite(fd, buf, int64(at)) })
	}
	if err == nil && n < len(buf) {
		err = unix.EFAULT
	}
	return err
}

// memory opens the memory as the user whose process it is: without CAP_SYS_PTRACE nobody else may.
func (a *answerer) memory(flags int, use func(fd int) (int, error)) (int, error) {
	defer a.as(0, 0)
	a.asAsker()
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/mem", a.n.pid), flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	return use(fd)
}

// asAsker has this thread open files as the user who asks.
func (a *answerer) asAsker() {
	uid, gid := uint32(a.config.UID), uint32(a.config.GID)
	if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.n.pid)); err == nil {
		uid, gid = effective(status, "Uid:", uid), effective(status, "Gid:", gid)
	}
	a.as(uid, gid)
}

// effective is the second number of a line of /proc/PID/status.
func effective(status []byte, key string, otherwise uint32) uint32 {
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[0] == key {
			if n, err := strconv.ParseUint(fields[2], 10, 32); err == nil {
				return uint32(n)
			}
		}
	}
	return otherwise
}

func (a *answerer) as(uid, gid uint32) {
	if a.uid == uid && a.gid == gid {
		return
	}
	_, _, _ = unix.RawSyscall(unix.SYS_SETFSGID, uintptr(gid), 0, 0)
	_, _, _ = unix.RawSyscall(unix.SYS_SETFSUID, uintptr(uid), 0, 0)
	a.uid, a.gid = uid, gid
}
