package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/opencontainers/runc/libcontainer/utils"
	"golang.org/x/sys/unix"
)

// controlFD is the socket to whoever started the keeper or the step.
const controlFD = 3

// keep is the whole of a keeper.
func keep() {
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	unix.CloseOnExec(controlFD)
	control := os.NewFile(controlFD, "control")
	say := json.NewEncoder(control)
	var config plainConfig
	from := json.NewDecoder(control)
	if err := from.Decode(&config); err != nil {
		os.Exit(ExitSandbox)
	}
	// What loses its parent becomes a child of this process, so that nothing gets away. Nobody reads or traces it.
	if err := errors.Join(unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)); err != nil {
		_ = say.Encode(plainEnd{Code: ExitSandbox, Error: fmt.Sprintf("keep the step's processes: %v", err)})
		os.Exit(ExitSandbox)
	}
	secrets, err := openSecrets(config.Secrets)
	if err != nil {
		_ = say.Encode(plainEnd{Code: ExitSandbox, Error: err.Error()})
		os.Exit(ExitSandbox)
	}
	go func() {
		_ = from.Decode(&struct{}{}) // until the builder is gone, or wants it to end
		for _, s := range secrets {
			s.remove()
		}
		for {
			killChildren()
			time.Sleep(time.Millisecond)
		}
	}()
	pid, code, err := startStep(&config, say)
	if err != nil {
		killAll()
		_ = say.Encode(plainEnd{Code: code, Error: err.Error()})
		os.Exit(0)
	}
	status := reap(pid)
	killAll()
	// All of the step's ends of the streams are closed but these.
	for fd := range 3 {
		_ = unix.Close(fd)
	}
	code = status.ExitStatus()
	if status.Signaled() {
		code = 128 + int(status.Signal())
	}
	_ = say.Encode(plainEnd{Code: code})
	os.Exit(0)
}

// secretFile is a secret in the step's root, opened before there is a process that could put something else in its
// place.
type secretFile struct {
	file, parent *os.File
	name         string
}

func openSecrets(names []string) (all []secretFile, err error) {
	for _, name := range names {
		s := secretFile{name: filepath.Base(name)}
		if s.parent, err = os.Open(filepath.Dir(name)); err == nil {
			s.file, err = os.OpenFile(name, unix.O_PATH|unix.O_NOFOLLOW, 0) // a program among them can still be run
		}
		if err != nil {
			return nil, fmt.Errorf("open a secret so that it can be removed: %w", err)
		}
		all = append(all, s)
	}
	return all, nil
}

// remove empties the file, wherever it was moved, and removes it.
func (s *secretFile) remove() {
	_ = os.Truncate(fmt.Sprintf("/proc/self/fd/%d", s.file.Fd()), 0)
	_ = unix.Unlinkat(int(s.parent.Fd()), s.name, 0)
}

// startStep starts the step's process, up to its program.
func startStep(config *plainConfig, say *json.Encoder) (pid, code int, err error) {
	ours, theirs, err := utils.NewSockPair("step")
	if err != nil {
		return 0, ExitSandbox, err
	}
	defer ours.Close()
	attr := &syscall.ProcAttr{
		Dir: "/", Env: []string{stepArg + "=1"}, Files: []uintptr{0, 1, 2, theirs.Fd()},
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: config.Terminal, Ctty: 0},
	}
	pid, err = syscall.ForkExec("/proc/self/exe", []string{os.Args[0], stepArg}, attr)
	theirs.Close()
	if err != nil {
		return 0, ExitSandbox, fmt.Errorf("start the step: %w", err)
	}
	if err := json.NewEncoder(ours).Encode(config); err != nil {
		return 0, ExitSandbox, fmt.Errorf("start the step: %w", err)
	}
	listener, err := receiveListener(ours)
	if err != nil {
		return 0, ExitSandbox, fmt.Errorf("start the step: %w", err)
	}
	if listener >= 0 {
		go answerFor(listener, config, pid)
	}
	_ = say.Encode(plainEnd{Pid: pid})
	// The socket closes with execve; before, it tells why there is none.
	var failed plainEnd
	if json.NewDecoder(ours).Decode(&failed) == nil {
		reap(pid)
		return 0, failed.Code, errors.New(failed.Error)
	}
	if listener < 0 {
		_ = say.Encode(plainEnd{Warn: "steps have no /proc here: the kernel takes no seccomp filter that asks"})
	}
	return pid, 0, nil
}

// reap waits for a process, and takes all others away that end meanwhile.
func reap(pid int) (status unix.WaitStatus) {
	for {
		var ws unix.WaitStatus
		got, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return status
		case got == pid:
			return ws
		}
	}
}

// killAll ends all processes that came of the step, and waits for them.
func killAll() {
	for {
		var ws unix.WaitStatus
		got, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		if errors.Is(err, unix.ECHILD) {
			return
		}
		if got > 0 {
			continue
		}
		killChildren()
		if got, _ = unix.Wait4(-1, &ws, unix.WNOHANG, nil); got <= 0 {
			time.Sleep(100 * time.Microsecond)
		}
	}
}

// killChildren kills the children of this process. Their own become its children then.
func killChildren() {
	self := strconv.Itoa(os.Getpid())
	dir, err := os.Open("/proc")
	if err != nil {
		return
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if fields := statOf(pid); len(fields) > 1 && fields[1] == self {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}
