package runner

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer/identity"
	"github.com/strata-build/strata/internal/sandbox/binfmt"
)

// Programs of another architecture run through an interpreter. Where the machine has one registered with the kernel,
// nothing has to be done. Otherwise QEMU's, if it is installed, is registered for the container alone: since Linux 6.7
// every user name space may have handlers of its own, so the container gets one, in which every user is who it is
// outside, and the machine's own registrations stay as they are.

// emulator keeps the user name space of a container that has handlers of its own.
type emulator struct {
	process *exec.Cmd
	stdin   io.Closer
}

// EmulationError says that the machine does not run an architecture's programs, and what to do about it.
type EmulationError struct {
	Arch  string
	Cause error // why the installed emulator is of no use, nil if there is none
}

func (e *EmulationError) Error() string {
	if e.Cause == nil {
		return fmt.Sprintf("this machine does not run programs for %s: install the package %s (apt-get install %[2]s), whose emulator is used then",
			e.Arch, binfmt.Package)
	}
	return fmt.Sprintf("this machine does not run programs for %s, and the emulator that is installed cannot be registered for one container (%v, which takes Linux 6.7): register it for the machine, with systemctl restart systemd-binfmt or update-binfmts --enable",
		e.Arch, e.Cause)
}

func (e *EmulationError) Unwrap() error { return e.Cause }

// emulate makes what it takes to run programs of the container's architecture; nil if the kernel runs them as it is. It
// is an error only if the program really is one of those: an image may say what it is for and hold something else.
func emulate(s Spec) (*emulator, error) {
	if binfmt.Native(s.Arch) || registered(s.Arch, s.Rootfs) {
		return nil, nil
	}
	missing := &EmulationError{Arch: s.Arch}
	if interpreter := binfmt.Emulator(s.Arch); interpreter != "" {
		e, err := startEmulator(s.Arch, interpreter)
		if err == nil {
			return e, nil
		}
		missing.Cause = err
	}
	if isProgramOf(s) {
		return nil, missing
	}
	return nil, nil
}

// isProgramOf says whether the program that is to run is one of the container's architecture.
func isProgramOf(s Spec) bool {
	names := []string{s.Args[0]}
	if !strings.Contains(s.Args[0], "/") {
		names = nil
		for _, kv := range withPath(s.Env) {
			if list, ok := strings.CutPrefix(kv, "PATH="); ok {
				names = nil // the last of equal keys counts
				for _, dir := range filepath.SplitList(list) {
					names = append(names, filepath.Join(dir, s.Args[0]))
				}
			}
		}
	}
	for _, name := range names {
		if !filepath.IsAbs(name) {
			name = filepath.Join(s.Dir, name)
		}
		// The image decides what is a symlink; this follows it as the container would.
		path, err := securejoin.SecureJoin(s.Rootfs, name)
		if err != nil {
			continue
		}
		if st, err := os.Stat(path); err != nil || !st.Mode().IsRegular() {
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		defer f.Close()
		return binfmt.IsProgram(f, s.Arch)
	}
	return false
}

// registered says whether the kernel has a handler that works in the container: one that is open already, or whose
// interpreter is in the container's root file system.
func registered(arch, rootfs string) bool {
	dir, err := binfmt.Open()
	if err != nil {
		return false
	}
	defer dir.Close()
	h, err := binfmt.Registered(dir.FS(), arch)
	if err != nil || h == nil {
		return false
	}
	if h.Fixed {
		return true
	}
	path, err := securejoin.SecureJoin(rootfs, h.Interpreter)
	if err != nil {
		return false
	}
	_, err = os.Lstat(path)
	return err == nil
}

// registrar is the first argument of the process that registers, and everything names it as its own environment does.
const registrar = "strata-register-emulator"

// wholeRange maps every ID that there is here to itself.
func wholeRange() []syscall.SysProcIDMap {
	return []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: int(identity.Current().IDs())}}
}

// startEmulator starts a process in a user name space of its own, which registers the interpreter there and then waits:
// the name space lives as long as somebody is in it.
func startEmulator(arch, interpreter string) (*emulator, error) {
	line, err := binfmt.Registration(arch, interpreter)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/proc/self/exe", registrar, line)
	cmd.Env = []string{registrar + "=1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: wholeRange(), GidMappings: wholeRange(), GidMappingsEnableSetgroups: true,
		Pdeathsig: unix.SIGKILL,
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	e := &emulator{cmd, stdin}
	answer, err := bufio.NewReader(stdout).ReadString('\n')
	if answer = strings.TrimSpace(answer); err != nil || answer != "ok" {
		e.stop()
		if answer == "" {
			answer = "the process that registers it has ended"
		}
		return nil, errors.New(answer)
	}
	return e, nil
}

// register is the whole of the process that startEmulator starts.
func register(line string) {
	dir, err := binfmt.Open()
	if err == nil {
		defer dir.Close() // registrations go with the last mount
		err = writeRegistration(dir, line)
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("ok")
	_, _ = io.Copy(io.Discard, os.Stdin) // until the container has ended
}

func writeRegistration(dir *os.Root, line string) error {
	f, err := dir.OpenFile("register", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(line)
	return err
}

// stop lets go of the name space.
func (e *emulator) stop() {
	if e == nil {
		return
	}
	e.stdin.Close()
	_ = e.process.Wait()
}

// join makes a container part of the emulator's user name space.
func (e *emulator) join(config *configs.Config) error {
	if e == nil {
		return nil
	}
	path := filepath.Join("/proc", fmt.Sprint(e.process.Process.Pid), "ns/user")
	config.Namespaces = append(configs.Namespaces{{Type: configs.NEWUSER, Path: path}}, config.Namespaces...)
	config.UIDMappings = []configs.IDMap{{ContainerID: 0, HostID: 0, Size: int64(identity.Current().IDs())}}
	config.GIDMappings = config.UIDMappings
	return showSys(config)
}
