package runner

import (
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
	size := len(program)
	if size == 0 {
		return nil
	}
	if size > maxFilter || size%8 != 0 {
		return fmt.Errorf("the filter's size is %d bytes", size)
	}
	// Loading a filter without no_new_privs takes this.
	if err := raise(unix.CAP_SYS_ADMIN); err != nil {
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
