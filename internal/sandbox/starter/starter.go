// Package starter starts processes in name spaces of their own by way of one small process, the starter. That is this
// program again, but it takes over before Go's runtime starts (starter.c): it forks, and the child makes the system
// calls that a Program lists, of which the last executes another program. So a container costs the calls that set it
// up, and no start of a Go program, which takes ten times as long.
//
//	builder ── control socket ──▶ starter ── clone(2) ──▶ child: the Program's calls, then execve(2)
//	   ╰────────────────────────── conversation ─────────────▶╯
//
// The starter ends with the builder, since its socket closes, and what it has started gets the parent death signal.
package starter

// #include "starter.h"
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"github.com/opencontainers/runc/libcontainer/exeseal"
	"golang.org/x/sys/unix"
)

// ErrUnavailable says that this machine has no starter: its kernel is older than Linux 5.9, or it cannot be started.
var ErrUnavailable = errors.New("processes cannot be started here by a starter")

// MaxFiles is how many files Start takes.
const MaxFiles = C.STARTER_DESCRIPTORS - conversation - 2

// conversation is the descriptor of the conversation in a child; the files of Start that are no streams come after it.
const conversation = 3

// FirstFile is the number that the first file after the three streams has in a child.
const FirstFile = conversation + 1

// Starter is the process. It can be used by several goroutines.
type Starter struct {
	control *net.UnixConn
	process *os.Process
	gone    chan struct{} // closed once the process has ended

	mu      sync.Mutex
	asked   []*Process // those that have not started, in the order in which they were asked for
	started map[int]*Process
	ended   error // why there is no starter any more
}

// New starts a starter. The program that it is cannot be written by what it starts: it is a sealed copy, or on a
// read-only file system (CVE-2019-5736). dir is a directory that neither holds this program nor lies below the one
// that does, or the copy takes memory.
func New(dir string) (*Starter, error) {
	if err := unix.CloseRange(^uint(0), 0, 0); !errors.Is(err, unix.EINVAL) {
		return nil, fmt.Errorf("%w: it takes Linux 5.9", ErrUnavailable)
	}
	root, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	_ = unix.Close(root)
	program, err := exeseal.CloneSelfExe(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer program.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "starter"), os.NewFile(uintptr(pair[1]), "starter")
	defer ours.Close()
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	cmd := exec.Command(fmt.Sprintf("/proc/self/fd/%d", program.Fd()))
	cmd.Args = []string{"strata-starter"}
	cmd.Env = []string{C.STARTER_ENVIRONMENT + "=1"}
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal sends it signals
	if err := cmd.Start(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	s := &Starter{control: conn.(*net.UnixConn), process: cmd.Process, gone: make(chan struct{}), started: map[int]*Process{}}
	go func() {
		s.listen()
		_ = cmd.Wait()
		close(s.gone)
	}()
	return s, nil
}

// Alive says whether the starter still runs, as far as is known.
func (s *Starter) Alive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended == nil
}

// Close ends the starter, and with it what it has started. It waits for the starter's end.
func (s *Starter) Close() {
	s.control.Close()
	s.Kill() // somebody may have stopped it
	<-s.gone
}

// Kill ends the starter as somebody else might, with SIGKILL.
func (s *Starter) Kill() { _ = s.process.Kill() }

// Process is one that a starter has started.
type Process struct {
	PID int

	mu sync.Mutex
	fd int // a descriptor of it; -1 once it was waited for

	conversation *os.File
	started      chan error // gets one
	ended        chan struct{}
	status       syscall.WaitStatus // once ended is closed
	lost         error              // why the status is not known
}

// Place is where a process is started: in new name spaces, of clone(2)'s flags, and in the cgroup of version 2 that
// Cgroup is the open directory of, if it is not nil. An error that is ErrCgroup says that processes cannot be started
// in a cgroup here.
type Place struct {
	Flags  uintptr
	Cgroup *os.File
}

// ErrCgroup says that the kernel starts no process in this cgroup. One can be moved there.
var ErrCgroup = errors.New("no process can be started in a cgroup")

// Start starts a process. files are its first descriptors: three streams, then others, from FirstFile on. It runs
// program until that waits.
func (s *Starter) Start(place Place, files []*os.File, program *Program) (*Process, error) {
	block := program.block()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	theirs := os.NewFile(uintptr(pair[1]), "conversation")
	defer theirs.Close()
	p := &Process{conversation: os.NewFile(uintptr(pair[0]), "conversation"), started: make(chan error, 1), ended: make(chan struct{})}
	if err := s.ask(p, place, append(append(files[:3:3], theirs), files[3:]...)); err != nil {
		p.conversation.Close()
		return nil, fmt.Errorf("start a process: %w", err)
	}
	if err := <-p.started; err != nil {
		p.conversation.Close()
		if place.Cgroup != nil && !errors.Is(err, errEnded) {
			err = fmt.Errorf("%w: %w", ErrCgroup, err)
		}
		return nil, fmt.Errorf("start a process: %w", err)
	}
	size := binary.NativeEndian.AppendUint32(nil, uint32(len(block)))
	_, err = p.conversation.Write(append(size, block...))
	if err == nil {
		if err = p.answer(program); errors.Is(err, io.EOF) {
			err = errEnded
		}
	}
	if err != nil {
		p.Kill()
		_, _ = p.Wait()
		return nil, err
	}
	return p, nil
}

// ask has the starter start a process.
func (s *Starter) ask(p *Process, place Place, files []*os.File) error {
	message := binary.NativeEndian.AppendUint64(nil, uint64(place.Flags))
	if place.Cgroup != nil {
		message = binary.NativeEndian.AppendUint64(message, uint64(len(files)))
		files = append(files, place.Cgroup)
	} else {
		message = binary.NativeEndian.AppendUint64(message, 0)
	}
	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = int(f.Fd())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return s.ended
	}
	if _, _, err := s.control.WriteMsgUnix(message, unix.UnixRights(fds...), nil); err != nil {
		return err
	}
	s.asked = append(s.asked, p)
	return nil
}

// errEnded says that the starter is gone, and what it had started with it.
var errEnded = errors.New("the process that starts containers was ended")

// listen hears what the starter says until it ends.
func (s *Starter) listen() {
	event, rights := make([]byte, C.sizeof_struct_starter_event), make([]byte, unix.CmsgSpace(4))
	for {
		n, nrights, _, _, err := s.control.ReadMsgUnix(event, rights)
		if err != nil || n < len(event) {
			break
		}
		fd := -1
		if messages, err := unix.ParseSocketControlMessage(rights[:nrights]); err == nil && len(messages) > 0 {
			if fds, err := unix.ParseUnixRights(&messages[0]); err == nil {
				fd = fds[0]
				unix.CloseOnExec(fd)
			}
		}
		word := func(i int) int { return int(int32(binary.NativeEndian.Uint32(event[4*i:]))) }
		s.hear(word(0), word(1), word(2), fd)
	}
	s.control.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = errEnded
	for _, p := range s.asked {
		p.started <- errEnded
	}
	for _, p := range s.started {
		p.lost = errEnded
		close(p.ended)
	}
}

func (s *Starter) hear(kind, pid, status, fd int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch kind {
	case C.STARTER_STARTED:
		p := s.asked[0]
		s.asked = s.asked[1:]
		if pid == 0 {
			p.started <- syscall.Errno(status)
			return
		}
		if fd < 0 { // none could be received: nobody could end the process
			_ = unix.Kill(pid, unix.SIGKILL)
			p.started <- unix.EMFILE
			return
		}
		p.PID, p.fd = pid, fd
		s.started[pid] = p
		p.started <- nil
	case C.STARTER_ENDED:
		if p := s.started[pid]; p != nil {
			delete(s.started, pid)
			p.status = syscall.WaitStatus(status)
			close(p.ended)
		}
	}
}

// answer waits until the process waits in its program. It is io.EOF once the process has executed another.
func (p *Process) answer(program *Program) error {
	said := make([]byte, C.sizeof_struct_starter_failure)
	if _, err := io.ReadFull(p.conversation, said); err != nil {
		return err
	}
	call, errno := int32(binary.NativeEndian.Uint32(said)), syscall.Errno(binary.NativeEndian.Uint32(said[4:]))
	if errno == 0 && int(call) < len(program.calls) {
		return nil
	}
	return program.failure(int(call), errno)
}

// Continue has a process that waits in its program go on, to where it executes another.
func (p *Process) Continue(program *Program) error {
	if _, err := p.conversation.Write([]byte{0}); err != nil {
		return fmt.Errorf("start a process: %w", err)
	}
	switch err := p.answer(program); {
	case errors.Is(err, io.EOF):
		return nil // it has executed another, or was killed: Wait tells
	case err == nil:
		return errors.New("start a process: it waits a second time")
	default:
		return err
	}
}

// Kill ends the process. It may have ended.
func (p *Process) Kill() { p.Signal(unix.SIGKILL) }

// Signal sends the process a signal. It may have ended.
func (p *Process) Signal(signal syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fd >= 0 {
		_ = unix.PidfdSendSignal(p.fd, signal, nil, 0)
	}
}

// Wait waits for the process's end, and frees what it held. It is called once.
func (p *Process) Wait() (syscall.WaitStatus, error) {
	<-p.ended
	p.conversation.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lost != nil && p.fd >= 0 { // the kernel may have forgotten the parent death signal (prctl(2)), as after su
		_ = unix.PidfdSendSignal(p.fd, unix.SIGKILL, nil, 0)
		for end := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}; ; {
			if _, err := unix.Poll(end, -1); !errors.Is(err, unix.EINTR) {
				break
			}
		}
	}
	_ = unix.Close(p.fd)
	p.fd = -1
	return p.status, p.lost
}
