// Package runner runs one process in a sandbox: a container of libcontainer, the library that runc is made of.
//
// The program starts itself again as the container's init, so main has to call [Init] before anything else.
package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer/identity"
	"github.com/strata-build/strata/internal/sandbox/network"
)

// Bind shows a file or directory of the host in the container, as docker run -v does, or an empty directory in memory.
type Bind struct {
	Source   string // on the host; has to exist
	Target   string // absolute path in the container; made for as long as the container runs where it is missing
	ReadOnly bool
	// Tmpfs shows a new file system in memory, of at most Size bytes, in place of Source. Size 0 leaves it to the
	// kernel: half of the memory.
	Tmpfs bool
	Size  int64
}

// Machine is what a container finds on its machine, where that is not the usual.
type Machine struct {
	Hostname string // "strata" when empty
	Hosts    []Host // further lines of /etc/hosts
	DNS      DNS    // instead of the machine's
	// Publish are ports of the container that are reached from outside, where its network is its own.
	Publish []network.Port
	ShmSize int64    // bytes of /dev/shm; DefaultShmSize when 0
	Ulimits []Ulimit // instead of the limits of this process
	// CgroupParent, when not empty, is the cgroup below which the container gets one of its own: a path below the
	// root of the hierarchies.
	CgroupParent string
	Limits       Limits
}

// Spec is all there is to know about one run.
type Spec struct {
	Rootfs   string   // the mounted root file system
	Arch     string   // of the programs in it, in Go's words; "" is this machine's
	Args     []string // the program and its arguments; the program is looked up in the container's PATH
	Env      []string // KEY=VALUE, the last of equal keys counts; PATH and HOME are added when absent, as Docker does
	Dir      string   // working directory, "/" when empty; made, owned by root, when missing
	User     string   // "", "uid", "uid:gid", "name", "name:group"; looked up in the root file system
	Network  Network
	ReadOnly bool // root file system read-only
	Rights
	Binds    []Bind // mounted in this order
	Files    []File // over what is mounted already
	StateDir string // an existing private directory, used by this run alone

	Machine
	Streams
	Hooks
}

// Hooks are what a run asks, tells and has from its caller; each may be nil.
type Hooks struct {
	// Connection is the network that Connect makes, in place of Network; where it is nil, Run makes one.
	Connection *Connection
	// Gate is waited for when the container is ready, before the program starts. Its error ends the run.
	Gate func(context.Context) error
	// Warn is told in one line what this machine does not have and the container goes without.
	Warn func(line string)
	// Owners gets the owners of files that can have no note of it beside them, where owners are noted.
	Owners *identity.Ledger
}

// Rights are what a container's processes may do, where that is not the usual.
type Rights struct {
	// Insecure takes the protection away that keeps a container's root from being the machine's: all capabilities of
	// this process, no seccomp, no masked and read-only paths, all devices.
	Insecure bool
	// AddCapabilities and DropCapabilities change the usual ones: CAP_NAME, as ParseCapability returns it, or
	// AllCapabilities.
	AddCapabilities, DropCapabilities []string
	// NoNewPrivileges lets no program give more rights than its caller has: set-user-ID and file capabilities count for
	// nothing.
	NoNewPrivileges bool
}

// Streams connect a container with this process.
type Streams struct {
	// Terminal gives the container a pty in place of the three streams and connects it with Stdin and
	// Stdout. A terminal on our side is in raw mode meanwhile and its size is followed.
	Terminal bool
	Stdin    io.Reader // nil: /dev/null
	Stdout   io.Writer // nil: /dev/null
	Stderr   io.Writer // nil: /dev/null

	// Signals, when not nil, are passed on to the container's first process (which, as process 1 of its
	// name space, ignores those that it has no handler for).
	Signals <-chan os.Signal
}

// Exit codes of a run that did not get as far as the program, as docker run has them.
const (
	ExitSandbox       = 125 // the sandbox could not be set up
	ExitNotExecutable = 126 // the program is there and cannot be executed
	ExitNotFound      = 127 // there is no such program
)

// Run runs s.Args and waits for its end. It returns the exit code, 128+n for a process that signal n ended,
// and an error only where the program was not run to its end: one of the exit codes above says which, or
// ctx ended. Then all processes of the container are killed at once. In every case nothing stays behind:
// no process, no mount, no cgroup, no state, no mount point in s.Rootfs that was not there before.
func Run(ctx context.Context, s Spec) (exitCode int, err error) {
	if err := ctx.Err(); err != nil {
		return ExitSandbox, context.Cause(ctx)
	}
	if err := s.check(); err != nil {
		return ExitSandbox, err
	}

	if s.Connection == nil {
		s.Connection = Connect(s.Network, s.Machine, nil)
		defer s.Connection.Close()
	}
	// The kernel sends the parent death signal when the thread that started the process ends, not the
	// process (prctl(2), PR_SET_PDEATHSIG), so this thread has to live as long as the container.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	if s.ReadOnly {
		if err := makeDir(s); err != nil {
			return ExitSandbox, err
		}
	}
	if err := s.Connection.use(&s); err != nil {
		return ExitSandbox, err
	}
	s.Files = slices.Clone(s.Files)
	points, err := makeMountPoints(s)
	if err != nil {
		return ExitSandbox, err
	}
	defer func() {
		if cerr := points.remove(); cerr != nil && err == nil {
			exitCode, err = ExitSandbox, cerr
		}
	}()

	restore, err := protectRoot(s)
	if err != nil {
		return ExitSandbox, err
	}
	defer func() {
		if rerr := restore(); rerr != nil && err == nil {
			exitCode, err = ExitSandbox, rerr
		}
	}()

	config, process, err := convert(s, points)
	if err != nil {
		return ExitSandbox, err
	}
	emulator, err := emulate(s)
	if err != nil {
		return ExitNotExecutable, err
	}
	defer emulator.stop()
	if err := emulator.join(config); err != nil {
		return ExitSandbox, err
	}
	if err := watch(s.StateDir); err != nil {
		return ExitSandbox, err
	}
	owners := superviseOwners(s, process)
	if owners == nil && emulator == nil && s.isUsual(config) {
		if st := sharedStarter(s.StateDir); st != nil {
			return runDirect(ctx, s, config, process, st)
		}
	}
	container, err := create(s, config)
	if err != nil {
		return ExitSandbox, fmt.Errorf("create container: %w", err)
	}
	defer func() {
		if derr := container.Destroy(); derr != nil && err == nil {
			exitCode, err = ExitSandbox, fmt.Errorf("remove container: %w", derr)
		}
	}()
	return run(ctx, s, container, process, owners)
}

// run starts process in container, with its streams connected, and waits for it.
func run(ctx context.Context, s Spec, container *libcontainer.Container, process *libcontainer.Process, owners *owners) (int, error) {
	streams, err := connect(s, process)
	if err != nil {
		return ExitSandbox, err
	}
	defer streams.close()

	stop := context.AfterFunc(ctx, func() { _ = container.Signal(unix.SIGKILL) })
	defer stop()
	defer owners.stop()
	if code, err := start(ctx, s, container, process, streams, owners); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return code, err
	}
	ended := make(chan struct{})
	defer close(ended)
	go forward(s.Signals, func(signal syscall.Signal) { _ = container.Signal(signal) }, ended)

	state, err := process.Wait()
	streams.finish()
	if ctx.Err() != nil {
		return exitStatus(state), context.Cause(ctx)
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return ExitSandbox, fmt.Errorf("wait for the container: %w", err)
	}
	return exitStatus(state), nil
}

// start brings the container to the point where its program runs. After an error there is no process left.
func start(ctx context.Context, s Spec, container *libcontainer.Container, process *libcontainer.Process, streams *streams, owners *owners) (int, error) {
	p, err := newPipe()
	if err != nil {
		return ExitSandbox, err
	}
	defer p.close()
	process.ExtraFiles = []*os.File{p.theirs}
	compile := func() (filters, error) { return compileFilters(s, owners) }
	go compile() // for the first container they are compiled while that starts

	for try := 0; ; try++ {
		err := container.Start(process)
		if err == nil {
			break
		}
		if try == maxSeals || !isSealing(err) {
			return startError(err)
		}
	}
	// What ended ctx before there was a process had nothing to kill; from here on it has.
	err = ctx.Err()
	if err == nil {
		err = confine(p, s.Files, process, owners, compile)
	}
	if err == nil && s.Gate != nil {
		err = s.Gate(ctx)
	}
	if err == nil {
		err = streams.started()
	}
	if err == nil {
		err = container.Exec()
	}
	if err != nil {
		_ = container.Signal(unix.SIGKILL)
		_, _ = process.Wait()
		return ExitSandbox, err
	}
	return 0, nil
}

// forward passes signals on until the container has ended.
func forward(signals <-chan os.Signal, send func(syscall.Signal), ended <-chan struct{}) {
	for {
		select {
		case sig, ok := <-signals:
			if !ok {
				return
			}
			if signal, ok := sig.(syscall.Signal); ok {
				send(signal) // it may have ended just now
			}
		case <-ended:
			return
		}
	}
}

// exitStatus is the shell's way to put how a process ended into one number.
func exitStatus(state *os.ProcessState) int {
	if state == nil {
		return ExitSandbox
	}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return state.ExitCode()
}

func (s *Spec) check() error {
	switch {
	case len(s.Args) == 0:
		return errors.New("no command given: the image has none either, so name one")
	}
	if err := identity.Current().Trees(); err != nil {
		return fmt.Errorf("running a container: %w", err)
	}
	if _, err := ParseNetwork(string(s.Network)); err != nil {
		return fmt.Errorf("unknown network %w", err)
	}
	for _, f := range s.Files {
		if !filepath.IsAbs(f.Target) {
			return fmt.Errorf("file %q: the path in the container has to be absolute", f.Target)
		}
	}
	for _, b := range s.Binds {
		if !filepath.IsAbs(b.Target) {
			return fmt.Errorf("bind mount on %q: the path in the container has to be absolute", b.Target)
		}
	}
	if s.Network == "" {
		s.Network = NetworkHost
	}
	if s.Hostname == "" {
		s.Hostname = "strata"
	}
	if s.ShmSize == 0 {
		s.ShmSize = DefaultShmSize
	}
	s.Dir = filepath.Join("/", s.Dir)
	return nil
}
