package runner

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxFilter bounds the size of a filter: the kernel takes 4096 instructions of 8 bytes.
const maxFilter = 4096 * 8

// installFilter puts a compiled seccomp filter on every thread of the process, unless it is empty. It runs in the
// container's init.
func installFilter(program []byte) error {
	if len(program) == 0 {
		return nil
	}
	// SPEC_ALLOW is what runc sets where a profile says nothing.
	thread, err := install(program, unix.SECCOMP_FILTER_FLAG_TSYNC|unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW)
	if err == nil && thread != 0 {
		err = fmt.Errorf("thread %d could not be synchronized", thread)
	}
	return err
}

// installAsking is installFilter for a filter that has the kernel ask another process. It returns the descriptor on
// which that one is asked, -1 for an empty filter.
func installAsking(program []byte) (int, error) {
	if len(program) == 0 {
		return -1, nil
	}
	flags := uintptr(unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH | unix.SECCOMP_FILTER_FLAG_NEW_LISTENER |
		unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW)
	// From Linux 5.19 on, a call that was asked about is not begun anew for each signal that the process gets.
	listener, err := install(program, flags|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
	if errors.Is(err, unix.EINVAL) {
		listener, err = install(program, flags)
	}
	return listener, err
}

func install(program []byte, flags uintptr) (int, error) {
	size := len(program)
	if size > maxFilter || size%8 != 0 {
		return -1, fmt.Errorf("the filter's size is %d bytes", size)
	}
	// Loading a filter without no_new_privs takes this.
	if err := raise(unix.CAP_SYS_ADMIN); err != nil {
		return -1, fmt.Errorf("raise CAP_SYS_ADMIN: %w", err)
	}
	prog := unix.SockFprog{Len: uint16(size / 8), Filter: (*unix.SockFilter)(unsafe.Pointer(&program[0]))}
	result, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(program)
	if errno != 0 {
		return -1, errno
	}
	return int(result), nil
}
