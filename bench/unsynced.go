package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// unsyncedArg is the first argument of this program where it becomes another one whose calls that wait for a disk do
// nothing: so a builder is measured with and without durability, by the same binary.
const unsyncedArg = "unsynced"

// unsynced makes a command one that waits for no disk.
func unsynced(cmd *exec.Cmd) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd.Args = append([]string{self, unsyncedArg, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = self
	return nil
}

// becomeUnsynced runs a program in the place of this one, with a filter of system calls that it and its children keep:
// what waits for a disk succeeds at once. It returns only if that fails. It needs root, as the filter is set without
// giving up rights.
func becomeUnsynced(args []string) error {
	runtime.LockOSThread()
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}} // the number of the call
	calls := []uint32{unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_SYNC, unix.SYS_SYNCFS, unix.SYS_MSYNC, unix.SYS_SYNC_FILE_RANGE}
	for i, call := range calls {
		filter = append(filter, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: uint8(len(calls) - i), K: call})
	}
	filter = append(filter,
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO}, // with error 0
	)
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program))); errno != 0 {
		return fmt.Errorf("setting a filter of system calls: %w", errno)
	}
	return unix.Exec(args[0], args, os.Environ())
}
