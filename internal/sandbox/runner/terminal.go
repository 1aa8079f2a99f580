package runner

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/utils"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/human"
)

// terminal connects a container's pty with the terminal, if it is one, that we run on.
type terminal struct {
	in   io.Reader
	out  io.Writer
	host *os.File // the terminal on our side; nil when there is none

	ours, theirs *os.File // the socket on which the container's init sends the pty
	pty          *os.File
	saved        *unix.Termios
	winch        chan os.Signal
	input        *input
	output       sync.WaitGroup
}

// newTerminal has process get a pty of the size of our terminal.
func newTerminal(s Spec, process *libcontainer.Process) (*terminal, error) {
	t := &terminal{in: s.Stdin, out: s.Stdout}
	for _, stream := range []any{s.Stdin, s.Stdout} {
		if file, ok := stream.(*os.File); ok && t.host == nil && human.IsTerminal(file) {
			t.host = file
		}
	}
	if t.host != nil {
		if size, err := unix.IoctlGetWinsize(int(t.host.Fd()), unix.TIOCGWINSZ); err == nil {
			process.ConsoleWidth, process.ConsoleHeight = size.Col, size.Row
		}
	}
	var err error
	if t.ours, t.theirs, err = utils.NewSockPair("console"); err != nil {
		return nil, fmt.Errorf("make a socket for the container's terminal: %w", err)
	}
	process.ConsoleSocket = t.theirs
	return t, nil
}

// attach takes the pty from the container that has started and begins to copy.
func (t *terminal) attach() error {
	t.theirs.Close() // or the end of the init would not be seen
	received, err := utils.RecvFile(t.ours)
	if err != nil {
		return fmt.Errorf("receive the container's terminal: %w", err)
	}
	defer received.Close()
	fd, err := unix.FcntlInt(received.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("receive the container's terminal: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that closing it ends a Read
		unix.Close(fd)
		return fmt.Errorf("receive the container's terminal: %w", err)
	}
	t.pty = os.NewFile(uintptr(fd), "pty")
	if err := t.raw(); err != nil {
		return err
	}
	t.followSize()
	t.output.Go(func() {
		if t.out == nil {
			t.out = io.Discard
		}
		if _, err := io.Copy(t.out, t.pty); err != nil { // EIO once the last process has ended
			_, _ = io.Copy(io.Discard, t.pty)
		}
	})
	if t.in == nil {
		return nil
	}
	t.input, err = feed(t.pty, t.in, nil) // the end of the input must not hang up
	return err
}

// raw hands every key to the container and every byte of its to the screen, as cfmakeraw(3) says.
func (t *terminal) raw() error {
	if t.host == nil {
		return nil
	}
	state, err := unix.IoctlGetTermios(int(t.host.Fd()), unix.TCGETS)
	if err != nil {
		return fmt.Errorf("read the terminal's mode: %w", err)
	}
	raw := *state
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Oflag &^= unix.OPOST
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(int(t.host.Fd()), unix.TCSETS, &raw); err != nil {
		return fmt.Errorf("set the terminal's mode: %w", err)
	}
	t.saved = state
	return nil
}

// followSize gives the pty the size of our terminal, now and whenever it changes.
func (t *terminal) followSize() {
	if t.host == nil {
		return
	}
	t.winch = make(chan os.Signal, 1)
	signal.Notify(t.winch, unix.SIGWINCH)
	resize := func() {
		if size, err := unix.IoctlGetWinsize(int(t.host.Fd()), unix.TIOCGWINSZ); err == nil {
			_ = ptyControl(t.pty, func(fd int) error { return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, size) })
		}
	}
	resize()
	go func() {
		for range t.winch {
			resize()
		}
	}()
}

// ptyControl runs f on the descriptor without taking the file out of non-blocking mode, as Fd would.
func ptyControl(pty *os.File, f func(fd int) error) error {
	conn, err := pty.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	if err := conn.Control(func(fd uintptr) { ferr = f(int(fd)) }); err != nil {
		return err
	}
	return ferr
}

// finish waits for the last of the output.
func (t *terminal) finish() {
	t.output.Wait()
	t.restore()
}

func (t *terminal) restore() {
	if t.winch != nil {
		signal.Stop(t.winch)
		close(t.winch)
		t.winch = nil
	}
	if t.saved != nil {
		_ = unix.IoctlSetTermios(int(t.host.Fd()), unix.TCSETS, t.saved)
		t.saved = nil
	}
}

// close frees what is left, whatever happened before.
func (t *terminal) close() {
	t.restore()
	for _, f := range []*os.File{t.ours, t.theirs, t.pty} {
		if f != nil {
			f.Close()
		}
	}
	t.output.Wait()
	t.input.stop()
}
