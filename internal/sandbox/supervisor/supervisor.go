// Package supervisor lets a container's processes have users and owners in a user name space that has only one of each.
//
// There, all processes are root and all files are root's, and the kernel refuses every other number. A seccomp filter
// (Filter) has the kernel ask this process instead of answering the system calls that change or tell users and owners
// (seccomp_unotify(2)): whom a process stands for is kept for it, and whose a file is is noted beside the file
// (identity.OwnerXattr), or in a ledger. What the container's root may, any of its processes may: users tell who made
// what, and do not protect it.
//
// In a user name space that has users and owners itself, only the calls that make devices are asked about (User is nil):
// no user name space can make one, and an empty file stands for it there too.
//
// What a call names is read once, and what is done is done with that copy. Paths are looked up by a thread that is in
// the container's mount name space, with the root and the directories of the process that asks: by the kernel, as it
// would for that process, so that they lead nowhere else.
package supervisor

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer/identity"
)

// Options say who is supervised.
type Options struct {
	// PID is the container's first process, as this process sees it.
	PID int
	// User is whom it stands for; nil where the kernel has the container's users and owners, and only devices are made
	// here.
	User *Credentials
	// Capabilities are those that the container's root has: CAP_NAME.
	Capabilities []string
	// NoNewPrivileges has set-user-ID programs count for nothing.
	NoNewPrivileges bool
	// Ledger gets the owners of files that can have no note of it beside them.
	Ledger *identity.Ledger
	// Files are the owners of files that are mounted in the container, by their paths in it.
	Files map[string]identity.Owner
}

// Supervisor answers the system calls of one container.
type Supervisor struct {
	Options
	listener int
	rules    []rule
	users    users
	stop     *os.File // closing it ends serve
	ended    chan struct{}
	place    place
}

// Start answers the calls that listener, which the filter of the container gave, tells of, until Stop. It takes the
// listener over.
func Start(listener *os.File, o Options) (*Supervisor, error) {
	stopped, stop, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("supervising the container: %w", err)
	}
	s := &Supervisor{Options: o, listener: int(listener.Fd()), rules: deviceRules(), stop: stop, ended: make(chan struct{})}
	if o.User != nil {
		s.rules = rules
		if _, err := s.users.add(o.User); err != nil {
			return nil, fmt.Errorf("supervising the container: %w", err)
		}
	}
	ready := make(chan error)
	go func() {
		defer close(s.ended)
		defer listener.Close()
		defer stopped.Close()
		// Never unlocked: a thread that has been in another name space ends with the goroutine.
		runtime.LockOSThread()
		err := s.place.enter(o.PID)
		if err == nil && o.User != nil {
			err = errors.Join(s.users.set(o.PID, o.User), s.noteFiles())
		}
		ready <- err
		if err == nil {
			s.serve(int(stopped.Fd()))
		}
		s.place.leave()
	}()
	if err := <-ready; err != nil {
		s.Stop()
		return nil, fmt.Errorf("supervising the container: %w", err)
	}
	return s, nil
}

// noteFiles notes the owners of the files that are mounted.
func (s *Supervisor) noteFiles() error {
	for path, owner := range s.Files {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: path, Err: err}
		}
		err = s.Ledger.Note(fd, "", owner)
		unix.Close(fd)
		if err != nil {
			return &os.PathError{Op: "statx", Path: path, Err: err}
		}
	}
	return nil
}

// Stop ends the answers. Calls that come later fail (ENOSYS). Nothing of the container is in use when it returns.
func (s *Supervisor) Stop() {
	if s == nil {
		return
	}
	s.stop.Close()
	<-s.ended
}

// serve answers calls until stopped is at its end, or no process is left.
func (s *Supervisor) serve(stopped int) {
	// From Linux 6.6 on: who asks and who answers take turns on one processor, so that neither waits for another to
	// wake up.
	_ = unix.IoctlSetInt(s.listener, unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
	polled := []unix.PollFd{{Fd: int32(s.listener), Events: unix.POLLIN}, {Fd: int32(stopped), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(polled, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		switch {
		case polled[1].Revents != 0:
			return
		case polled[0].Revents&unix.POLLIN != 0:
			if c, ok := s.receive(); ok {
				s.send(c, s.answer(c))
			}
		case polled[0].Revents != 0:
			return
		}
	}
}

// answer is what becomes of a call.
type answer struct {
	value int64
	errno unix.Errno
	kind  answerKind
}

type answerKind int

const (
	replied  answerKind = iota // with value or errno
	passedOn                   // to the kernel, as if nobody had asked
	sent                       // already
)

// pass leaves a call to the kernel.
var pass = answer{kind: passedOn}

// fail is an error of the call.
func fail(err error) answer {
	var errno unix.Errno
	if !errors.As(err, &errno) || errno == 0 {
		errno = unix.EIO
	}
	return answer{errno: errno}
}

func (s *Supervisor) answer(c *call) answer {
	for i := range s.rules {
		if r := &s.rules[i]; r.number == uint32(c.notice.number) {
			return r.answer(c)
		}
	}
	return pass
}

// mayMakeDevices says whether a process may make one: whom it stands for, or as the kernel knows it, has CAP_MKNOD.
func (c *call) mayMakeDevices() (bool, error) {
	if c.User == nil {
		capabilities, err := strconv.ParseUint(c.status("CapEff"), 16, 64)
		return err == nil && capabilities&(1<<unix.CAP_MKNOD) != 0, nil
	}
	who, err := c.users.of(int(c.pid))
	if err != nil {
		return false, err
	}
	return c.may(who, "CAP_MKNOD"), nil
}

// may says whether the container's root has a capability, and the process stands for it.
func (s *Supervisor) may(c *Credentials, name string) bool {
	return c.uid.effective == 0 && slices.Contains(s.Capabilities, name)
}
