package runner

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/store/orphans"
)

// A builder that is killed cannot end its containers. The kernel does that for it with the parent death signal, but forgets
// about it when the container's first process executes a set-user-ID program, changes its user, as su does, or asks for
// that (prctl(2), PR_SET_PDEATHSIG). So there is one more process, the guard, which starts with the builder's first
// container and does nothing but hold the end of a pipe whose other end is the builder's alone. It reads the state folder
// of each container from it. When the pipe closes the builder is gone, however that came, and the guard ends the
// containers that are left.
//
// The guard may be killed as well. Then whoever opens the store next does the same.

// guardArg is the first argument of the guard, and a name in its environment.
const guardArg = "strata-guard"

// guard is the guard of this process's containers.
var guard struct {
	sync.Mutex
	pipe *os.File // nil before the first container
}

// watch has the guard end the containers with their states in stateDir if this process is killed.
func watch(stateDir string) error {
	dir, err := filepath.Abs(stateDir)
	if err != nil {
		return err
	}
	guard.Lock()
	defer guard.Unlock()
	if guard.pipe != nil {
		if _, err = guard.pipe.WriteString(dir + "\x00"); !errors.Is(err, unix.EPIPE) {
			return err
		}
		guard.pipe.Close() // somebody killed it
	}
	if guard.pipe, err = startGuard(); err == nil {
		_, err = guard.pipe.WriteString(dir + "\x00")
	}
	if err != nil {
		return fmt.Errorf("start the process that ends containers if strata is killed: %w", err)
	}
	return nil
}

// startGuard starts a guard and returns the pipe. It is in a session of its own, so that no terminal sends it signals.
func startGuard() (*os.File, error) {
	theirs, ours, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	cmd := exec.Command("/proc/self/exe", guardArg)
	cmd.Env = []string{guardArg + "=1"}
	cmd.Dir = "/"
	cmd.Stdin = theirs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		ours.Close()
		return nil, err
	}
	go cmd.Wait()
	return ours, nil
}

// keepGuard is the whole of the guard.
func keepGuard() {
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	dirs, _ := io.ReadAll(os.Stdin) // until the builder is gone
	for dir := range strings.SplitSeq(string(dirs), "\x00") {
		if dir != "" {
			_ = orphans.End(dir)
		}
	}
}
