package runner

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// /proc cannot be mounted in a root that is a directory. Programs need it, though: a dynamic linker for $ORIGIN, node,
// java and rustc to find themselves, shells for /dev/stdout. So the kernel asks the keeper about each call that takes a
// path (seccomp_unotify(2)). Where the path begins with /proc, /sys or one of a few names in /dev, the keeper opens it
// in its own root (plainpath.go), as the process that asks (plainasker.go), and gives it the descriptor or the answer; any
// other call goes on as it is.
//
// This gives no protection: the process may change the path after it was read, and gets then what the kernel gives it
// anyway. It takes none away either: what is opened for a process, it could have opened itself, and a path leads to no
// process but the step's, and by no link out of the step's root.

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
	anExecute
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
	root     *os.File        // of the step
	rootPath string          // its path here, without links
	first    int             // the step's first process
	devices  map[string]bool // paths of those that the root has itself
	own      rights          // of this thread
	n        notification
	who      *asker
	found    finding
	pointers pointers
}

// answerFor answers until nobody is left to ask. first is the step's first process.
func answerFor(listener int, config *plainConfig, first int) {
	runtime.LockOSThread() // and never unlocked: its user changes
	a, err := newAnswerer(listener, config, first)
	if err != nil {
		unix.Close(listener) // those who ask get ENOSYS
		return
	}
	// The one who asks and this thread wait for each other by turns, and may stay on one processor (from Linux 6.6 on).
	together := uint64(wakeTogether)
	_ = listenerCall(listener, notifySetFlags, unsafe.Pointer(&together))
	for {
		a.n, a.who = notification{}, nil
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

func newAnswerer(listener int, config *plainConfig, first int) (*answerer, error) {
	root, err := os.OpenFile(config.Root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	a := &answerer{listener: listener, root: root, first: first}
	if a.rootPath, err = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", root.Fd())); err != nil {
		return nil, err
	}
	a.devices = ownDevices(root)
	a.own, err = ownRights()
	return a, err
}

func (a *answerer) answer() {
	r := response{id: a.n.id, flags: answerContinue}
	if call, ok := pathCalls[int(a.n.nr)]; ok {
		val, err := a.act(&call)
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

// errAnswered says that an answer was sent already, errNotOurs that the call is to go on as it is.
var (
	errAnswered = errors.New("answered")
	errNotOurs  = errors.New("not to be answered")
)

// act answers a call whose path lies outside of the step's root.
func (a *answerer) act(c *pathCall) (int64, error) {
	text, ok := a.readPath(a.n.args[c.path])
	relative := ok && text != "" && text[0] != '/'
	if relative { // to the root, where a process starts that nobody told otherwise
		text = "/" + text
	}
	if !ok || !concerns(text) || relative && c.path == 1 && int32(a.n.args[0]) != unix.AT_FDCWD {
		return 0, errNotOurs
	}
	var err error
	if a.who, err = readAsker(int(a.n.pid)); err != nil {
		return 0, errNotOurs
	}
	if relative && !a.isInRoot() {
		return 0, errNotOurs
	}
	a.found, err = a.find(text, c)
	if err != nil {
		return 0, err
	}
	defer a.found.close()
	if !a.waits() {
		return 0, errNotOurs
	}
	return c.act(a, c)
}

// waits says whether who asks is still there: its number could be another process's by now.
func (a *answerer) waits() bool {
	return listenerCall(a.listener, notifyIDValid, unsafe.Pointer(&a.n.id)) == nil
}

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
		if begins := string(all[:min(4, len(all))]); begins[0] != '/' && !slices.Contains([]string{"proc", "sys/", "dev/"}, begins) {
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
	if !a.waits() {
		return unix.EFAULT
	}
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
func (a *answerer) memory(flags int, use func(fd int) (int, error)) (n int, err error) {
	who, err := readAsker(int(a.n.pid))
	if err != nil {
		return 0, err
	}
	who.effective = who.permitted // of which ptrace(2) wants all
	err = a.as(who, func() error {
		fd, err := unix.Open(fmt.Sprintf("/proc/%d/mem", a.n.pid), flags|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		n, err = use(fd)
		return err
	})
	return n, err
}
