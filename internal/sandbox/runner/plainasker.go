package runner

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rights are those that the kernel looks at when a thread opens a file.
type rights struct {
	uid, gid             uint32
	groups               []uint32
	permitted, effective uint64 // capabilities, bits by number
}

// asker is who asks: a thread of a process of the step.
type asker struct {
	thread, process int
	rights
}

// readAsker reads who a thread is, and what it may do (proc_pid_status(5)).
func readAsker(thread int) (*asker, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", thread))
	if err != nil {
		return nil, err
	}
	a := &asker{thread: thread}
	seen := 0
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(line, ":")
		fields := strings.Fields(value)
		number := func(i, base, bits int) uint64 {
			if i >= len(fields) {
				return 0
			}
			n, nerr := strconv.ParseUint(fields[i], base, bits)
			if nerr != nil {
				err = nerr
			}
			return n
		}
		const effective = 1 // after the real one
		seen++
		switch key {
		case "Tgid":
			a.process = int(number(0, 10, 31))
		case "Uid":
			a.uid = uint32(number(effective, 10, 32))
		case "Gid":
			a.gid = uint32(number(effective, 10, 32))
		case "Groups":
			for i := range fields {
				a.groups = append(a.groups, uint32(number(i, 10, 32)))
			}
		case "CapPrm":
			a.permitted = number(0, 16, 64)
		case "CapEff":
			a.effective = number(0, 16, 64)
		default:
			seen--
		}
	}
	if err == nil && seen < 6 {
		err = fmt.Errorf("/proc/%d/status lacks lines", thread)
	}
	return a, err
}

// ownRights are those of this thread.
func ownRights() (rights, error) {
	a, err := readAsker(unix.Gettid())
	if err != nil {
		return rights{}, err
	}
	a.effective = a.permitted
	return a.rights, nil
}

// as has this thread do something with the rights of who asks, and no others. Effective IDs are those that the kernel
// looks at in /proc/sys, where IDs for files would not do.
func (a *answerer) as(who *asker, do func() error) error {
	defer a.back()
	r := &who.rights
	if err := errors.Join(setGroups(r.groups), setEffectiveID(unix.SYS_SETRESGID, r.gid), setEffectiveID(unix.SYS_SETRESUID, r.uid), setEffective(r.effective)); err != nil {
		return unix.EACCES
	}
	return do()
}

// back has this thread be itself again. Its real and saved IDs have never been others.
func (a *answerer) back() {
	r := &a.own
	err := errors.Join(setEffectiveID(unix.SYS_SETRESUID, r.uid), setEffective(r.permitted), setEffectiveID(unix.SYS_SETRESGID, r.gid), setGroups(r.groups))
	if err != nil {
		panic(fmt.Sprintf("strata: the keeper of a step cannot be itself again: %v", err))
	}
}

// setEffectiveID changes the effective ID of this thread alone, which is not what Go's Setresuid does, and with it the
// one for files.
func setEffectiveID(call uintptr, id uint32) error {
	const unchanged = ^uintptr(0)
	if _, _, errno := unix.RawSyscall(call, unchanged, uintptr(id), unchanged); errno != 0 {
		return errno
	}
	return nil
}

// setGroups changes those of this thread alone, which is not what Go's Setgroups does.
func setGroups(groups []uint32) error {
	_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(unsafe.SliceData(groups))), 0)
	runtime.KeepAlive(groups)
	if errno != 0 {
		return errno
	}
	return nil
}

// setEffective gives this thread those of its capabilities that are among these.
func setEffective(capabilities uint64) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	for i := range data {
		data[i].Effective = data[i].Permitted & uint32(capabilities>>(32*i))
	}
	return unix.Capset(&header, &data[0])
}
