package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/human/style"
	"github.com/strata-build/strata/internal/look/view"
)

// page calls print with a Printer on standard output. On a terminal it uses colours and a pager, as
// git does: $PAGER names another pager than less, and "cat" or "" none; NO_COLOR turns colours off
// (no-color.org).
func (a *app) page(print func(*view.Printer) error) error {
	if !human.IsTerminal(a.stdout.File) {
		return a.plain(a.stdout, print)
	}
	command, set := os.LookupEnv("PAGER")
	if !set {
		command = "less"
	}
	if command == "" || command == "cat" {
		return a.plain(a.stdout, print)
	}
	cmd := exec.Command("/bin/sh", "-c", command)
	cmd.Stdout, cmd.Stderr, cmd.Env = a.stdout.File, a.stderr, os.Environ()
	if _, ok := os.LookupEnv("LESS"); !ok {
		cmd.Env = append(cmd.Env, "LESS=FRX") // as git: quit if all fits on one screen, keep colours
	}
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if _, lookErr := exec.LookPath(strings.Fields(command)[0]); lookErr != nil {
		return a.plain(a.stdout, print) // without less there is no pager
	}
	if err := cmd.Start(); err != nil {
		return a.plain(a.stdout, print)
	}
	err = a.plain(pipe, print)
	pipe.Close()
	if waitErr := cmd.Wait(); err == nil && waitErr != nil {
		err = fmt.Errorf("the pager %s: %w; set PAGER=cat to do without", command, waitErr)
	}
	if errors.Is(err, syscall.EPIPE) {
		return nil // the person quit the pager before the end
	}
	return err
}

// plain prints without a pager.
func (a *app) plain(w io.Writer, print func(*view.Printer) error) error {
	p := view.NewPrinter(w)
	if human.IsTerminal(a.stdout.File) {
		p.Color = style.Wanted()
		p.Width = columns(a.stdout.File)
	}
	if err := print(p); err != nil {
		return err
	}
	return p.Flush()
}

// columns returns the width of a terminal, 0 if it is unknown.
func columns(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}
