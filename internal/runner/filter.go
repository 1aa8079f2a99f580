package runner

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"unsafe"

	"github.com/opencontainers/runc/libcontainer/utils"
	"golang.org/x/sys/unix"
)

// The seccomp filter reaches a container in this order:
//
//  1. The container's init starts loadFilter on a thread of its own, which waits on descriptor 3.
//  2. libcontainer's init sets everything up, gives up its privileges and waits for permission to execute
//     the program. The thread of loadFilter keeps its own, as threads do.
//  3. The builder sends the filter (filterPipe.install). The thread puts it on all threads at once, closes
//     the descriptor and confirms. Only then does the builder permit the program.
//
// It cannot be earlier, since the filter forbids mounting, nor can libcontainer do it, which takes a profile only.

// filterFD is the descriptor of the first of libcontainer's ExtraFiles.
const filterFD = 3

// maxFilter bounds the size of a filter: the kernel takes 4096 instructions of 8 bytes.
const maxFilter = 4096 * 8

// filterPipe is the builder's end.
type filterPipe struct{ ours, theirs *os.File }

func newFilterPipe() (*filterPipe, error) {
	ours, theirs, err := utils.NewSockPair("seccomp")
	if err != nil {
		return nil, fmt.Errorf("make a socket for the seccomp filter: %w", err)
	}
	return &filterPipe{ours, theirs}, nil
}

// install sends the filter and waits until it is in force. An empty one stands for none.
func (p *filterPipe) install(compiled func() ([]byte, error)) error {
	program, err := compiled()
	if err != nil {
		return err
	}
	p.theirs.Close() // or the end of the init would not be seen
	message := binary.NativeEndian.AppendUint32(nil, uint32(len(program)))
	if _, err := p.ours.Write(append(message, program...)); err != nil {
		return fmt.Errorf("send the seccomp filter: %w", err)
	}
	answer, err := io.ReadAll(p.ours)
	if err != nil {
		return fmt.Errorf("install the seccomp filter: %w", err)
	}
	if string(answer) != "ok" {
		return fmt.Errorf("install the seccomp filter: %s", append(answer, "; the container's init has ended"...))
	}
	return nil
}

func (p *filterPipe) close() {
	p.ours.Close()
	p.theirs.Close()
}

// loadFilter waits for the filter and puts it on every thread of the process. It runs in the container's init.
func loadFilter(ready chan<- struct{}) {
	runtime.LockOSThread() // and never unlocked: this thread's privileges are the point
	// A change of user takes the privileges of all threads, except for what this retains.
	err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0)
	close(ready)
	if err == nil {
		err = receiveFilter()
	}
	answer := "ok"
	if err != nil {
		answer = err.Error()
	}
	_, _ = unix.Write(filterFD, []byte(answer))
	_ = unix.Close(filterFD)
	if answer != "ok" {
		os.Exit(ExitSandbox)
	}
	select {} // until execve ends the thread
}

func receiveFilter() error {
	head := make([]byte, 4)
	if err := readFull(head); err != nil {
		return err
	}
	size := binary.NativeEndian.Uint32(head)
	if size == 0 {
		return nil
	}
	if size > maxFilter || size%8 != 0 {
		return fmt.Errorf("the filter's size is %d bytes", size)
	}
	program := make([]byte, size)
	if err := readFull(program); err != nil {
		return err
	}
	if err := raiseSysAdmin(); err != nil {
		return fmt.Errorf("raise CAP_SYS_ADMIN: %w", err)
	}
	prog := unix.SockFprog{Len: uint16(size / 8), Filter: (*unix.SockFilter)(unsafe.Pointer(&program[0]))}
	// SPEC_ALLOW is what runc sets where a profile says nothing.
	flags := uintptr(unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW)
	thread, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(program)
	if errno != 0 {
		return errno
	}
	if thread != 0 {
		return fmt.Errorf("thread %d could not be synchronized", thread)
	}
	return nil
}

// readFull reads from filterFD with the thread blocked in the kernel, not in Go's poller.
func readFull(b []byte) error {
	for len(b) > 0 {
		n, err := unix.Read(filterFD, b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		b = b[n:]
	}
	return nil
}

// raiseSysAdmin makes the capability effective that loading a filter without no_new_privs takes.
func raiseSysAdmin() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	data[0].Effective |= data[0].Permitted & (1 << unix.CAP_SYS_ADMIN)
	return unix.Capset(&header, &data[0])
}
