package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/moby/sys/capability"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/utils"
	"golang.org/x/sys/unix"
)

// Where neither mounts nor name spaces can be had, a process runs in a directory that is its root by chroot(2). A
// keeper, which is this program again, starts it, answers for it what lies in /proc (plainproc.go), and kills all that
// it left running when it ends or when the builder does:
//
//	RunPlain ══ socket ══▶ keeper (subreaper) ── starts ──▶ step: chroot, user, capabilities, filters, execve
//	         ◀═ exit code ═       ▲══════ seccomp notifications ══════╝

// keeperArg and stepArg are the first arguments of the two, and names in their environment.
const (
	keeperArg = "strata-plain-keeper"
	stepArg   = "strata-plain-step"
)

// plainConfig is what the keeper and the step are told.
type plainConfig struct {
	Root, Dir    string
	Args, Env    []string
	UID, GID     int
	Groups       []int
	Capabilities uint64 // bits by number: no others can be got
	Limits       []configs.Rlimit
	Terminal     bool
	Filter       []byte // compiled; empty for none
	// Secrets are files that the keeper removes if the builder is gone.
	Secrets []string
}

// plainEnd is what the keeper says: first Pid, then how the step ended.
type plainEnd struct {
	Pid   int    `json:",omitempty"`
	Code  int    `json:",omitempty"`
	Error string `json:",omitempty"`
	Warn  string `json:",omitempty"`
}

// RunPlain is Run for where nothing can be mounted: s.Rootfs is a directory of plain files in which everything is that
// the process is to see; it takes no Binds and no Files. secrets are paths that are removed if this process is killed.
func RunPlain(ctx context.Context, s Spec, secrets []string) (int, error) {
	if len(s.Args) == 0 {
		return ExitSandbox, errors.New("no command given: the image has none either, so name one")
	}
	if err := ctx.Err(); err != nil {
		return ExitSandbox, context.Cause(ctx)
	}
	if s.Warn != nil && (s.CgroupParent != "" || s.Limits != Limits{}) {
		s.Warn("limits of cgroups left out: none can be made where nothing can be mounted")
	}
	// Whoever is root of the container too neither reads this process's memory and environment nor traces it.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return ExitSandbox, fmt.Errorf("keep this process's memory from the step: %w", err)
	}
	config, err := s.plainConfig()
	if err != nil {
		return ExitSandbox, err
	}
	config.Secrets = secrets
	process := &libcontainer.Process{}
	streams, err := connect(s, process)
	if err != nil {
		return ExitSandbox, err
	}
	defer streams.close()
	if s.Terminal {
		slave, err := sendPty(process.ConsoleSocket)
		if err != nil {
			return ExitSandbox, err
		}
		streams.child = append(streams.child, slave)
		process.Stdin, process.Stdout, process.Stderr = slave, slave, slave
	}
	k, err := startKeeper(config, process)
	if err != nil {
		return ExitSandbox, err
	}
	defer k.close()
	stop := context.AfterFunc(ctx, k.end)
	defer stop()
	code, err := k.follow(s, streams)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return code, err
}

// plainConfig puts s into the keeper's terms.
func (s *Spec) plainConfig() (*plainConfig, error) {
	user, err := lookupUser(s.Rootfs, s.User)
	if err != nil {
		return nil, err
	}
	names, err := s.capabilities(NetworkHost)
	if err != nil {
		return nil, err
	}
	limits, err := rlimits(s.Ulimits)
	if err != nil {
		return nil, err
	}
	c := &plainConfig{
		Root: filepath.Clean(s.Rootfs), Dir: filepath.Join("/", s.Dir), Args: s.Args, Env: withHome(withPath(s.Env), user.Home),
		UID: user.Uid, GID: user.Gid, Groups: append([]int{user.Gid}, user.Sgids...), Limits: limits, Terminal: s.Terminal,
	}
	for _, name := range names {
		for _, known := range capability.ListKnown() {
			if capabilityName(known) == name {
				c.Capabilities |= 1 << uint(known)
			}
		}
	}
	if s.Insecure {
		c.Capabilities = ^uint64(0)
		return c, nil
	}
	c.Filter, err = seccompFilter()
	return c, err
}

// PlainFiles are the files that such a process gets in place of the image's, by their paths in the root.
func PlainFiles(s Spec) (map[string]string, error) {
	if s.Hostname == "" {
		s.Hostname = "strata"
	}
	s.Network = NetworkHost
	binds, err := generateFiles(s)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for _, b := range binds {
		files[b.Target] = b.Source
	}
	return files, nil
}

// withHome adds HOME, and leaves of equal keys the last one.
func withHome(env []string, home string) []string {
	seen := map[string]bool{}
	var all []string
	for i := len(env) - 1; i >= 0; i-- {
		if key, _, _ := strings.Cut(env[i], "="); !seen[key] {
			seen[key] = true
			all = append([]string{env[i]}, all...)
		}
	}
	if !seen["HOME"] {
		all = append(all, "HOME="+home)
	}
	return all
}

// sendPty makes a pty, sends its master to whoever attaches it and returns the other end.
func sendPty(to *os.File) (*os.File, error) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("make a terminal: %w", err)
	}
	defer master.Close()
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("make a terminal: %w", err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("make a terminal: %w", err)
	}
	if err := utils.SendFile(to, master); err != nil {
		slave.Close()
		return nil, fmt.Errorf("make a terminal: %w", err)
	}
	return slave, nil
}

// keeper is the builder's view of a keeper.
type keeper struct {
	cmd     *exec.Cmd
	control *os.File
}

func startKeeper(config *plainConfig, process *libcontainer.Process) (*keeper, error) {
	ours, theirs, err := utils.NewSockPair("keeper")
	if err != nil {
		return nil, fmt.Errorf("make a socket for the process that keeps the step: %w", err)
	}
	defer theirs.Close()
	cmd := exec.Command("/proc/self/exe", keeperArg)
	cmd.Env = []string{keeperArg + "=1"}
	cmd.Dir = "/"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = process.Stdin, process.Stdout, process.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		ours.Close()
		return nil, fmt.Errorf("start the process that keeps the step: %w", err)
	}
	k := &keeper{cmd, ours}
	if err := json.NewEncoder(ours).Encode(config); err != nil {
		k.close()
		return nil, fmt.Errorf("tell the process that keeps the step what to run: %w", err)
	}
	return k, nil
}

// end has the keeper kill the step.
func (k *keeper) end() { _ = unix.Shutdown(int(k.control.Fd()), unix.SHUT_WR) }

func (k *keeper) close() {
	k.end()
	_ = k.cmd.Wait()
	k.control.Close()
}

// follow waits for the end of the step.
func (k *keeper) follow(s Spec, streams *streams) (int, error) {
	answers := json.NewDecoder(k.control)
	ended := make(chan struct{})
	defer close(ended)
	for {
		var said plainEnd
		if err := answers.Decode(&said); err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the process that keeps the step was killed")
			}
			return ExitSandbox, err
		}
		switch {
		case said.Warn != "":
			if s.Warn != nil {
				s.Warn(said.Warn)
			}
		case said.Pid != 0:
			if err := streams.started(); err != nil {
				return ExitSandbox, err
			}
			go forwardTo(s.Signals, said.Pid, ended)
		case said.Error != "":
			return said.Code, errors.New(said.Error)
		default:
			streams.closeChild()
			streams.finish()
			return said.Code, nil
		}
	}
}

// forwardTo passes signals on until the step has ended.
func forwardTo(signals <-chan os.Signal, pid int, ended <-chan struct{}) {
	for {
		select {
		case sig, ok := <-signals:
			number, known := sig.(syscall.Signal)
			if !ok || !known {
				return
			}
			_ = unix.Kill(pid, number) // it may have ended just now
		case <-ended:
			return
		}
	}
}
