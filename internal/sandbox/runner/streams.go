package runner

import (
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/opencontainers/runc/libcontainer"
)

// streams carry a container's input and output through pipes of ours. The caller's files are never handed
// over as they are: libcontainer gives the standard streams to the container's user (fixStdioPermissions),
// and a program could reach more than bytes through them (TIOCSTI on a terminal).
type streams struct {
	child  []*os.File // the container's ends, closed here once it has started
	input  *input
	output sync.WaitGroup
	tty    *terminal
}

// connect makes the streams that s asks for and gives process its ends of them.
func connect(s Spec, process *libcontainer.Process) (_ *streams, err error) {
	c := &streams{}
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
	if c.input, err = feed(ours, r, ours.Close); err != nil {
		ours.Close()
		return nil, err
	}
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
// that is soon.
func (c *streams) finish() {
	c.output.Wait()
	if c.tty != nil {
		c.tty.finish()
	}
}

// close frees what is left, whatever happened before.
func (c *streams) close() {
	c.closeChild()
	c.output.Wait()
	c.input.stop()
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
