package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"github.com/opencontainers/runc/libcontainer/utils"
	"golang.org/x/sys/unix"
)

// becomeStep turns this process into the step's program. What it gives up, it gives up for the one thread that calls
// execve, which is what remains of the process.
func becomeStep() {
	runtime.LockOSThread()
	unix.CloseOnExec(controlFD)
	control := os.NewFile(controlFD, "control")
	var config plainConfig
	code, err := ExitSandbox, json.NewDecoder(control).Decode(&config)
	var program string
	listener := -1
	if err == nil {
		code, program, listener, err = config.become()
	}
	if serr := sendListener(control, listener); err == nil {
		err = serr
	}
	if err == nil {
		code, err = execError(&os.PathError{Op: "exec", Path: config.Args[0], Err: syscall.Exec(program, config.Args, config.Env)})
	}
	_ = json.NewEncoder(control).Encode(plainEnd{Code: code, Error: err.Error()})
	os.Exit(code)
}

// become makes this thread what the step's program is to be, and returns the program's path and the descriptor on which
// the kernel asks what lies in /proc, -1 for none. An error comes with its exit code.
func (c *plainConfig) become() (code int, program string, listener int, err error) {
	failed := func(what string, err error) (int, string, int, error) {
		return ExitSandbox, "", -1, fmt.Errorf("%s: %w", what, err)
	}
	for _, l := range c.Limits {
		if err := unix.Setrlimit(l.Type, &unix.Rlimit{Cur: l.Soft, Max: l.Hard}); err != nil {
			return failed("set a limit", err)
		}
	}
	if err := unix.Chroot(c.Root); err != nil {
		return failed("change the root to "+c.Root, err)
	}
	unix.Umask(0o022)
	if err := errors.Join(os.Chdir("/"), os.MkdirAll(c.Dir, 0o755)); err != nil {
		return failed("make the working directory", err)
	}
	if err := os.Chdir(c.Dir); err != nil {
		return failed("enter the working directory", err)
	}
	os.Clearenv()
	for _, kv := range c.Env {
		if key, value, ok := strings.Cut(kv, "="); ok {
			_ = os.Setenv(key, value)
		}
	}
	if program, err = exec.LookPath(c.Args[0]); err != nil {
		code, err = execError(err)
		return code, "", -1, err
	}
	if err := c.dropRights(); err != nil {
		return failed("drop rights", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return failed("set no_new_privs", err)
	}
	if len(c.Filter) > 0 {
		if _, err := filterThread(c.Filter, 0); err != nil {
			return failed("install the seccomp filter", err)
		}
	}
	listener = -1
	if asking := askingFilter(); asking != nil {
		if fd, err := filterThread(asking, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER); err == nil {
			listener = fd
		}
	}
	return 0, program, listener, nil
}

// execError tells why a program did not start, as libcontainer puts it.
func execError(err error) (int, error) {
	if path := (*os.PathError)(nil); errors.As(err, &path) && path.Op == "exec" {
		err = fmt.Errorf("exec %q: %w", path.Path, path.Err)
	}
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return ExitNotFound, err
	}
	return ExitNotExecutable, err
}

// dropRights makes this thread the step's user, who has the capabilities and can get no others.
func (c *plainConfig) dropRights() error {
	for number := range 64 {
		if c.Capabilities&(1<<number) == 0 {
			_ = unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(number), 0, 0, 0) // the kernel may not know it
		}
	}
	_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	groups := make([]uint32, len(c.Groups))
	for i, g := range c.Groups {
		groups[i] = uint32(g)
	}
	gid, uid := uintptr(c.GID), uintptr(c.UID)
	for _, call := range []struct {
		name    string
		nr      uintptr
		a, b, d uintptr
	}{
		{"groups", unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(unsafe.SliceData(groups))), 0},
		{"group", unix.SYS_SETRESGID, gid, gid, gid},
		{"user", unix.SYS_SETRESUID, uid, uid, uid},
	} {
		if _, _, errno := unix.RawSyscall(call.nr, call.a, call.b, call.d); errno != 0 {
			return fmt.Errorf("set the step's %s: %w", call.name, errno)
		}
	}
	runtime.KeepAlive(groups)
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("look at capabilities: %w", err)
	}
	for i := range data {
		allowed := uint32(c.Capabilities >> (32 * i))
		data[i].Permitted &= allowed
		data[i].Effective &= allowed
		data[i].Inheritable = 0
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return nil
}

// filterThread puts a compiled seccomp filter on this thread, and returns the descriptor that the flags ask for.
func filterThread(program []byte, flags uintptr) (int, error) {
	if len(program) > maxFilter || len(program)%8 != 0 {
		return -1, fmt.Errorf("the filter's size is %d bytes", len(program))
	}
	prog := unix.SockFprog{Len: uint16(len(program) / 8), Filter: (*unix.SockFilter)(unsafe.Pointer(&program[0]))}
	fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags|unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(program)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// sendListener hands the descriptor over on which the kernel asks; -1 says that there is none.
func sendListener(control *os.File, fd int) error {
	if fd < 0 {
		none, err := os.Open("/")
		if err != nil {
			return err
		}
		defer none.Close()
		return utils.SendFile(control, none)
	}
	file := os.NewFile(uintptr(fd), "seccomp")
	defer file.Close()
	return utils.SendFile(control, file)
}

// receiveListener takes what sendListener sends.
func receiveListener(control *os.File) (int, error) {
	file, err := utils.RecvFile(control)
	if err != nil {
		return -1, err
	}
	if st, err := file.Stat(); err != nil || st.IsDir() {
		file.Close()
		return -1, err
	}
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	file.Close()
	return fd, err
}
