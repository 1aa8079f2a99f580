package runner

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// streams carry a container's input and output through pipes of ours. The caller's files are never handed
// over as they are: libcontainer gives the standard streams to the container's user (fixStdioPermissions),
// and a program could reach more than bytes through them (TIOCSTI on a terminal).
type streams struct {
	child  []*os.File // the container's ends, closed here once it has started
	input  func()     // ends the copying of the input
	output sync.WaitGroup
	tty    *terminal
}

// connect makes the streams that s asks for and gives process its ends of them.
func connect(s Spec, process *libcontainer.Process) (_ *streams, err error) {
	c := &streams{input: func() {}}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if s.Terminal {
		c.tty, err = newTerminal(s, process)
		return c, err
	}
	if s.Stdin != nil {
		r, err := c.stdin(s.Stdin)
		if err != nil {
			return c, err
		}
		process.Stdin = r
	}
	if s.Stdout != nil {
		w, err := c.copyTo(s.Stdout)
		if err != nil {
			return c, err
		}
		process.Stdout = w
		if sameWriter(s.Stdout, s.Stderr) { // one pipe keeps the order
			process.Stderr = w
			return c, nil
		}
	}
	if s.Stderr != nil {
		w, err := c.copyTo(s.Stderr)
		if err != nil {
			return c, err
		}
		process.Stderr = w
	}
	return c, nil
}

// sameWriter compares two writers of which either may be of a type that cannot be compared.
func sameWriter(a, b io.Writer) bool {
	defer func() { _ = recover() }()
	return a == b
}

// copyTo gives a pipe whose output goes to w. What w does not take is read and dropped, so that the
// container goes on.
func (c *streams) copyTo(w io.Writer) (*os.File, error) {
	ours, theirs, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe for the container's output: %w", err)
	}
	c.child = append(c.child, theirs)
	c.output.Go(func() {
		defer ours.Close()
		if _, err := io.Copy(w, ours); err != nil {
			_, _ = io.Copy(io.Discard, ours)
		}
	})
	return theirs, nil
}

// stdin gives a pipe that is fed from r.
func (c *streams) stdin(r io.Reader) (*os.File, error) {
	theirs, ours, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe for the container's input: %w", err)
	}
	c.child = append(c.child, theirs)
	feed, stop, err := interruptible(r)
	if err != nil {
		ours.Close()
		return nil, err
	}
	c.input = stop
	go func() {
		_, _ = io.Copy(ours, feed) // ends with the input, or EPIPE once nobody reads any more
		ours.Close()
	}()
	return theirs, nil
}

// started is called once the container runs.
func (c *streams) started() error {
	c.closeChild()
	if c.tty != nil {
		return c.tty.attach()
	}
	return nil
}

// finish waits until everything that the container wrote has arrived. All of its processes have ended, so
// that is soon. An input that cannot be interrupted (any that is not an *os.File) is not waited for.
func (c *streams) finish() {
	c.input()
	c.output.Wait()
	if c.tty != nil {
		c.tty.finish()
	}
}

// close frees what is left, whatever happened before.
func (c *streams) close() {
	c.closeChild()
	c.input()
	c.output.Wait()
	if c.tty != nil {
		c.tty.close()
	}
}

func (c *streams) closeChild() {
	for _, f := range c.child {
		f.Close()
	}
	c.child = nil
}

// interruptible makes reading from r end when stop is called, where r is a file: by polling it together with
// a pipe, so that no byte is taken from a terminal or a pipe that the container did not get to see.
func interruptible(r io.Reader) (_ io.Reader, stop func(), err error) {
	file, ok := r.(*os.File)
	if !ok {
		return r, func() {}, nil
	}
	wakeR, wakeW, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("make a pipe for the container's input: %w", err)
	}
	return &polledFile{file, wakeR}, sync.OnceFunc(func() { wakeW.Close() }), nil
}

type polledFile struct {
	file *os.File
	wake *os.File
}

func (p *polledFile) Read(b []byte) (int, error) {
	fds := []unix.PollFd{{Fd: int32(p.file.Fd()), Events: unix.POLLIN}, {Fd: int32(p.wake.Fd()), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, err
		}
		if fds[1].Revents != 0 {
			p.wake.Close()
			return 0, io.EOF
		}
		return p.file.Read(b)
	}
}
