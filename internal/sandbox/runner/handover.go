package runner

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/opencontainers/runc/libcontainer/utils"
	"golang.org/x/sys/unix"
)

// What libcontainer cannot do for us is done in the container's init, last of all and in this order:
//
//  1. The container's init starts lastSteps on a thread of its own, which waits on descriptor 3.
//  2. libcontainer's init sets everything up, gives up its privileges and waits for permission to execute
//     the program. The thread of lastSteps keeps its own, as threads do.
//  3. The builder hands over the files and the seccomp filters (pipe.handOver). The thread shows the files, puts the
//     filters on all threads at once and confirms, with the listener of the filter that asks the builder, if there is
//     one. Only then does the builder permit the program, whose execve(2) closes both descriptors: the thread cannot do
//     it in time, since the program may run as soon as the builder knows.
//
// The filter cannot come earlier, since it forbids mounting. libcontainer could not do it, which takes a profile only,
// nor the files, for which it wants paths on the machine.

// handoverFD is the descriptor of the first of libcontainer's ExtraFiles.
const handoverFD = 3

// maxHandover bounds the sizes that the init believes: the builder checks what it sends.
const maxHandover = 64 << 20

// handover is what the builder tells the init. The filter and the files' contents follow it, in this order.
type handover struct {
	Filter int // bytes, 0 for none
	Asking int // bytes of the filter that has the kernel ask the builder (package supervisor), 0 for none
	Files  []handedFile
}

// filters are the seccomp programs of a container; an empty one stands for none.
type filters struct{ forbidding, asking []byte }

type handedFile struct {
	File
	Size int
}

// pipe is the builder's end.
type pipe struct{ ours, theirs *os.File }

func newPipe() (*pipe, error) {
	ours, theirs, err := utils.NewSockPair("handover")
	if err != nil {
		return nil, fmt.Errorf("make a socket for the container's init: %w", err)
	}
	return &pipe{ours, theirs}, nil
}

// handOver sends the files and the filters that compile gives, and waits until the files are there and the filters are
// in force. It returns the listener of the filter that asks, nil without one.
func (p *pipe) handOver(files []File, compile func() (filters, error)) (*os.File, error) {
	programs, err := compile()
	if err != nil {
		return nil, err
	}
	p.theirs.Close() // or the end of the init would not be seen
	h := handover{Filter: len(programs.forbidding), Asking: len(programs.asking)}
	parts := [][]byte{nil, programs.forbidding, programs.asking}
	for _, f := range files {
		h.Files = append(h.Files, handedFile{f, len(f.Data)})
		parts = append(parts, f.Data)
	}
	head, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	parts[0] = append(binary.NativeEndian.AppendUint32(nil, uint32(len(head))), head...)
	for _, part := range parts {
		if _, err = p.ours.Write(part); err != nil {
			break // what the init says of it is the better error
		}
	}
	answer, listener, rerr := p.receiveAnswer()
	switch {
	case len(answer) == 0 && (err != nil || rerr != nil):
		return nil, fmt.Errorf("hand over to the container's init: %w", errors.Join(err, rerr))
	case len(answer) == 0:
		return nil, errors.New("hand over to the container's init: it has ended")
	case string(answer) != "ok":
		return nil, errors.New(string(answer))
	case h.Asking > 0 && listener == nil:
		return nil, errors.New("hand over to the container's init: it gave no listener")
	}
	return listener, nil
}

// maxAnswer bounds what the init says.
const maxAnswer = 4096

// receiveAnswer waits for what the init says, and for the listener that may come with it.
func (p *pipe) receiveAnswer() (answer []byte, listener *os.File, err error) {
	buf, rights := make([]byte, maxAnswer), make([]byte, unix.CmsgSpace(4))
	for {
		n, nrights, _, _, err := unix.Recvmsg(int(p.ours.Fd()), buf, rights, unix.MSG_CMSG_CLOEXEC)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil || nrights == 0:
			return buf[:max(n, 0)], nil, err
		}
		messages, err := unix.ParseSocketControlMessage(rights[:nrights])
		if err != nil {
			return nil, nil, err
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil {
			return nil, nil, err
		}
		return buf[:n], os.NewFile(uintptr(fds[0]), "seccomp listener"), nil
	}
}

func (p *pipe) close() {
	p.ours.Close()
	p.theirs.Close()
}

// lastSteps waits for what the builder hands over. It runs in the container's init.
func lastSteps(ready chan<- struct{}) {
	runtime.LockOSThread()       // and never unlocked: this thread's privileges are the point
	unix.CloseOnExec(handoverFD) // libcontainer means it for the program
	// A change of user takes the privileges of all threads, except for what this retains.
	err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0)
	close(ready)
	listener := -1
	if err == nil {
		listener, err = receive()
	}
	answer := "ok"
	if err != nil {
		answer = err.Error()
	}
	answer = answer[:min(len(answer), maxAnswer)]
	if listener < 0 {
		_, _ = unix.Write(handoverFD, []byte(answer))
	} else {
		_ = unix.Sendmsg(handoverFD, []byte(answer), unix.UnixRights(listener), nil, 0)
	}
	if answer != "ok" {
		os.Exit(ExitSandbox)
	}
	select {} // until execve ends the thread
}

// receive does what the builder says. It returns the listener of the filter that asks, -1 without one.
func receive() (listener int, err error) {
	size, err := readBytes(4)
	if err != nil {
		return -1, err
	}
	head, err := readBytes(int(binary.NativeEndian.Uint32(size)))
	if err != nil {
		return -1, err
	}
	var h handover
	if err := json.Unmarshal(head, &h); err != nil {
		return -1, err
	}
	forbidding, err := readBytes(h.Filter)
	if err != nil {
		return -1, err
	}
	asking, err := readBytes(h.Asking)
	if err != nil {
		return -1, err
	}
	files := make([]File, 0, len(h.Files))
	for _, f := range h.Files {
		if f.File.Data, err = readBytes(f.Size); err != nil {
			return -1, err
		}
		files = append(files, f.File)
	}
	if err := showFiles(files); err != nil {
		return -1, err
	}
	// The one that forbids may forbid to install another.
	if listener, err = installAsking(asking); err != nil {
		return -1, fmt.Errorf("install the seccomp filter that asks about users and owners: %w", err)
	}
	if err := installFilter(forbidding); err != nil {
		return -1, fmt.Errorf("install the seccomp filter: %w", err)
	}
	return listener, nil
}

// readBytes reads from handoverFD with the thread blocked in the kernel, not in Go's poller.
func readBytes(n int) ([]byte, error) {
	if n < 0 || n > maxHandover {
		return nil, fmt.Errorf("the builder announces %d bytes", n)
	}
	all := make([]byte, n)
	for b := all; len(b) > 0; {
		n, err := unix.Read(handoverFD, b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, io.ErrUnexpectedEOF
		}
		b = b[n:]
	}
	return all, nil
}

// raise makes capabilities effective that this thread is permitted to have.
func raise(capabilities ...uint) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	for _, c := range capabilities {
		data[c/32].Effective |= data[c/32].Permitted & (1 << (c % 32))
	}
	return unix.Capset(&header, &data[0])
}
