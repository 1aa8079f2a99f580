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
	from   io.Reader  // the caller's input, of which nothing is read before the container runs
	to     *os.File   // the pipe to the container, until the input is fed to it
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
		theirs, ours, err := os.Pipe()
		if err != nil {
			return c, fmt.Errorf("make a pipe for the container's input: %w", err)
		}
		c.child = append(c.child, theirs)
		c.from, c.to = s.Stdin, ours
		process.Stdin = theirs
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

// started is called once nothing keeps the container from running. Where it does not, another may take its place, which
// is to get all of the input.
func (c *streams) started() (err error) {
	c.closeChild()
	if c.tty != nil {
		return c.tty.attach()
	}
	if c.to == nil {
		return nil
	}
	if c.input, err = feed(c.to, c.from, c.to.Close); err == nil {
		c.to = nil
	}
	return err
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
	if c.to != nil {
		c.to.Close()
	}
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
