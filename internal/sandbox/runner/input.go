package runner

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// input copies from the caller's reader to the container.
type input struct {
	wake *os.File // closing it ends the reading; nil where that cannot be done
	done chan struct{}
	once sync.Once
}

// feed copies from r to w until either ends or stop is called, and then calls end unless that is nil.
func feed(w io.Writer, r io.Reader, end func() error) (*input, error) {
	in := &input{done: make(chan struct{})}
	cleanup := func() {}
	if file, ok := r.(*os.File); ok {
		polled, wake, err := poll(file)
		if err != nil {
			return nil, fmt.Errorf("make a pipe for the container's input: %w", err)
		}
		in.wake, r = wake, polled
		cleanup = func() { polled.wake.Close() }
	}
	go func() {
		defer close(in.done)
		defer cleanup()
		_, _ = io.Copy(w, r) // ends with the input, or EPIPE or EIO once nobody reads any more
		if end != nil {
			_ = end()
		}
	}()
	return in, nil
}

// stop ends the copying, once the container has ended. The read of a reader that is not a file cannot be
// ended; it goes on by itself and what it gets is lost.
func (in *input) stop() {
	if in == nil || in.wake == nil {
		return
	}
	in.once.Do(func() { in.wake.Close() })
	<-in.done
}

// polledFile reads from a file when there is something to read, and ends when the other end of wake is closed.
// So no byte is taken from a terminal or a pipe after the container's end.
type polledFile struct{ file, wake *os.File }

func poll(file *os.File) (_ *polledFile, wake *os.File, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	return &polledFile{file, r}, w, nil
}

// Read implements io.Reader.
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
			return 0, io.EOF
		}
		return p.file.Read(b)
	}
}
