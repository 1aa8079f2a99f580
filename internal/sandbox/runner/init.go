package runner

import (
	"os"
	"runtime"

	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // enters the name spaces before Go starts
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// init keeps the main goroutine on the main thread. libcontainer lets a thread enter the container's mount name
// space and end there, and the one thread that cannot end is the main one: it would keep that name space, and
// all that is mounted in it, for as long as the builder lives.
func init() { runtime.LockOSThread() }

// Init must be the first call in main: when this process is a container's init it takes over, becomes the
// container's program and never returns. In every other process it does nothing.
func Init() {
	if len(os.Args) == 3 && os.Args[1] == registrar && os.Getenv(registrar) != "" {
		register(os.Args[2])
		os.Exit(0)
	}
	if len(os.Args) == 2 && os.Args[1] == guardArg && os.Getenv(guardArg) != "" {
		keepGuard()
		os.Exit(0)
	}
	if len(os.Args) == 2 && os.Args[1] == keeperArg && os.Getenv(keeperArg) != "" {
		keep()
	}
	if len(os.Args) == 2 && os.Args[1] == stepArg && os.Getenv(stepArg) != "" {
		becomeStep()
	}
	if len(os.Args) < 2 || os.Args[1] != "init" || os.Getenv("_LIBCONTAINER_INITPIPE") == "" {
		logrus.SetLevel(logrus.ErrorLevel) // libcontainer warns of cgroups that it was not given
		return
	}
	// libcontainer asks for the parent death signal on the first process of the three that it takes to enter
	// the name spaces, and fork(2) clears it. It is this one that has to die with the builder. A parent that
	// died before this line closed the pipe on which libcontainer.Init waits.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		os.Exit(ExitSandbox)
	}
	// libcontainer makes what is missing of the working directory before it sets the container's umask, which is this.
	unix.Umask(0o022)
	ready := make(chan struct{})
	go lastSteps(ready)
	<-ready
	libcontainer.Init()
}
