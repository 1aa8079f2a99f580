package runner

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer/identity"
	"github.com/strata-build/strata/internal/sandbox/starter"
	"github.com/strata-build/strata/internal/store/orphans"
)

// Most containers are started without libcontainer's init, which is a Go program that is started three times over
// before it begins: the starter makes the same calls (program.go). libcontainer starts what is not usual: a container
// in a user name space, with a terminal, with limits, without protection, or with mounts below others.

// shared is the starter of this process's containers.
var shared struct {
	sync.Mutex
	*starter.Starter
	none bool // this machine has none
}

// Prepare starts what the first container needs, so that it need not wait for that. dir is an existing directory that
// neither holds this program nor lies below one that does.
func Prepare(dir string) {
	go func() { _, _ = seccompFilter() }()
	sharedStarter(dir)
}

// End ends what Prepare or the first container has started, before this process ends: what it lies on can be
// unmounted then. No container runs any more.
func End() {
	shared.Lock()
	defer shared.Unlock()
	if shared.Starter != nil {
		shared.Close()
		shared.Starter = nil
	}
}

// sharedStarter is the starter, which is started if need be; nil where there is none.
func sharedStarter(dir string) *starter.Starter {
	if identity.Current().Mapped() {
		return nil
	}
	shared.Lock()
	defer shared.Unlock()
	if shared.none || shared.Starter != nil && shared.Alive() {
		return shared.Starter
	}
	var err error
	shared.Starter, err = starter.New(dir)
	shared.none = err != nil
	return shared.Starter
}

// isUsual says whether a container can be started without libcontainer's init.
func (s *Spec) isUsual(config *configs.Config) bool {
	if s.Terminal || s.Insecure || s.Limits != (Limits{}) || s.CgroupParent != "" || len(config.Mounts) > 200 {
		return false
	}
	for _, ns := range config.Namespaces {
		if ns.Type == configs.NEWUSER {
			return false
		}
	}
	// Mount points of ours, in whose place something else could be, and those that lie in what is mounted before them.
	taken := []string{"/dev", "/proc", "/sys"}
	for _, b := range config.Mounts[len(standardMounts(*s))+len(deviceMounts()):] {
		if b.Device != "bind" || slices.ContainsFunc(taken, func(t string) bool { return under(b.Destination, t) }) {
			return false
		}
		taken = append(taken, b.Destination)
	}
	for _, f := range s.Files {
		if slices.ContainsFunc(taken, func(t string) bool { return under(filepath.Clean(f.Target), t) }) {
			return false
		}
	}
	return true
}

// runDirect runs process in a container of its own, by way of the starter.
func runDirect(ctx context.Context, s Spec, config *configs.Config, process *libcontainer.Process, st *starter.Starter) (code int, err error) {
	c, err := newContainer(s)
	if err != nil {
		return ExitSandbox, fmt.Errorf("create container: %w", err)
	}
	defer func() {
		if rerr := c.remove(); rerr != nil && err == nil {
			code, err = ExitSandbox, fmt.Errorf("remove container: %w", rerr)
		}
	}()
	streams, err := connect(s, process)
	if err != nil {
		return ExitSandbox, err
	}
	defer streams.close()
	p, program, err := c.start(s, config, process, st)
	if err != nil {
		return startError(explainExec(s, program, err))
	}
	stop := context.AfterFunc(ctx, p.Kill)
	defer stop()
	if err = c.save(p.PID); err == nil {
		err = ctx.Err()
	}
	if err == nil && s.Gate != nil {
		err = s.Gate(ctx)
	}
	if err == nil {
		err = streams.started()
	}
	if err != nil {
		p.Kill()
		_, _ = p.Wait()
		return ExitSandbox, orCause(ctx, err)
	}
	failed := p.Continue(program)
	ended := make(chan struct{})
	defer close(ended)
	go forward(s.Signals, p.Signal, ended)
	status, err := p.Wait()
	streams.finish()
	switch {
	case ctx.Err() != nil:
		return statusCode(status), context.Cause(ctx)
	case failed != nil:
		if unexecuted(s, failed) { // libcontainer's init says so itself, and ends with this
			if s.Stderr != nil {
				fmt.Fprintln(s.Stderr, failed)
			}
			return exitUnexecuted, nil
		}
		return startError(explainExec(s, program, failed))
	case err != nil:
		return ExitSandbox, fmt.Errorf("wait for the container: %w", err)
	}
	return statusCode(status), nil
}

// orCause is why ctx ended, if it did, or else err.
func orCause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func statusCode(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// exitUnexecuted is the exit code of a process whose program was found, and not executed by the kernel: libcontainer's.
const exitUnexecuted = 255

// unexecuted says whether a program was found, and the kernel did not execute it.
func unexecuted(s Spec, err error) bool {
	call := (*starter.CallError)(nil)
	return errors.As(err, &call) && strings.HasPrefix(call.Doing, executing+" ") && !(call.Errno == unix.EACCES && isDirIn(s, s.Args[0]))
}

// explainExec says of a program that could not be executed why, in libcontainer's words.
func explainExec(s Spec, program *starter.Program, err error) error {
	call := (*starter.CallError)(nil)
	if !errors.As(err, &call) || call.Doing != executing && !strings.HasPrefix(call.Doing, executing+" ") {
		return err
	}
	name, cause := s.Args[0], call.Errno
	switch {
	case !strings.Contains(name, "/"):
		return fmt.Errorf("exec: %q: executable file not found in $PATH", name)
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("exec: %q: stat %s: no such file or directory", name, name)
	case isDirIn(s, name):
		cause = unix.EISDIR
	}
	return fmt.Errorf("exec: %q: %w", name, cause)
}

// isDirIn says whether a path of the container is a directory.
func isDirIn(s Spec, name string) bool {
	if !filepath.IsAbs(name) {
		name = filepath.Join(s.Dir, name)
	}
	f, err := pathrs.OpenInRoot(s.Rootfs, name)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	return err == nil && info.IsDir()
}

// container is what there is of a container beside its processes: a folder with its state, which package orphans
// reads, and a cgroup.
type container struct {
	name, dir string
	group     *cgroup
}

// newContainer makes a container. The state names the cgroup before it is made, so that it is found and removed if
// this process is killed.
func newContainer(s Spec) (*container, error) {
	c := &container{name: orphans.Prefix + rand.Text()}
	c.dir = filepath.Join(s.StateDir, c.name)
	if err := os.Mkdir(c.dir, 0o711); err != nil {
		return nil, err
	}
	c.group = innerCgroup(c.name)
	if err := c.save(-1); err != nil {
		return nil, errors.Join(err, os.RemoveAll(c.dir))
	}
	if err := c.group.make(); err != nil {
		c.group = noCgroup()
		if err := c.save(-1); err != nil {
			return nil, errors.Join(err, os.RemoveAll(c.dir))
		}
	}
	return c, nil
}

// save writes the state: pid is the first process, -1 if there is none yet.
func (c *container) save(pid int) error {
	s := orphans.State{Pid: pid, Cgroups: c.group.paths}
	if pid > 0 {
		s.Started, _ = orphans.StartOf(pid) // 0 of one that has ended
	}
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.dir, "state.json"), data, 0o600)
}

// remove removes the cgroup and the state. All processes have ended.
func (c *container) remove() error {
	var errs []error
	for _, path := range c.group.paths {
		errs = append(errs, cgroups.RemovePath(path))
	}
	return errors.Join(append(errs, os.RemoveAll(c.dir))...)
}

// start brings the container to the point where its program runs. After an error there is no process left.
func (c *container) start(s Spec, config *configs.Config, process *libcontainer.Process, st *starter.Starter) (*starter.Process, *starter.Program, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	defer null.Close()
	a := &assembly{Program: &starter.Program{}, name: c.name, spec: &s, config: config, process: process}
	var place starter.Place
	for _, ns := range config.Namespaces {
		switch {
		case ns.Type == configs.NEWNET && ns.Path != "":
			if a.network, err = os.Open(ns.Path); err != nil {
				return nil, nil, fmt.Errorf("open the network name space: %w", err)
			}
			defer a.network.Close()
		case ns.Type == configs.NEWNET || ns.Type == configs.NEWCGROUP:
		default:
			place.Flags |= uintptr(ns.Syscall())
		}
	}
	if a.filter, err = seccompFilter(); err != nil {
		return nil, nil, err
	}
	files := []*os.File{null, null, null}
	for i, given := range []any{process.Stdin, process.Stdout, process.Stderr} {
		if f, ok := given.(*os.File); ok && f != nil {
			files[i] = f
		}
	}
	if dir, ok := c.group.paths[""]; ok && !noCgroupStart.Load() {
		if place.Cgroup, err = os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0); err != nil {
			return nil, nil, err
		}
		defer place.Cgroup.Close()
		p, err := a.start(st, place, files, null)
		if !errors.Is(err, starter.ErrCgroup) {
			return p, a.Program, err
		}
		noCgroupStart.Store(true)
		a.Program, place.Cgroup = &starter.Program{}, nil
	}
	for _, dir := range c.group.paths { // one at most
		if a.cgroup, err = os.OpenFile(filepath.Join(dir, cgroups.CgroupProcesses), os.O_WRONLY, 0); err != nil {
			return nil, nil, err
		}
		defer a.cgroup.Close()
	}
	p, err := a.start(st, place, files, null)
	return p, a.Program, err
}

// noCgroupStart is set where the kernel starts no process in a cgroup.
var noCgroupStart atomic.Bool

// start has the starter start the process.
func (a *assembly) start(st *starter.Starter, place starter.Place, streams []*os.File, placeholder *os.File) (*starter.Process, error) {
	if err := a.all(); err != nil {
		return nil, err
	}
	return st.Start(place, append(slices.Clip(streams), a.files(placeholder)...), a.Program)
}
