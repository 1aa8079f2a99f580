package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// maxPassword bounds what --password-stdin reads, in bytes. Tokens of some registries have several
// kilobytes.
const maxPassword = 64 << 10

type loginFlags struct {
	user, password string
	stdin          bool
}

func (a *app) login() *cobra.Command {
	f := &loginFlags{}
	cmd := &cobra.Command{
		Use:   "login [OPTIONS] [HOST]",
		Short: "Log in to a registry",
		Args:  args(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runLogin(cmd.Context(), first(args), f)
		},
	}
	cmd.Flags().StringVarP(&f.user, "username", "u", "", "user `NAME`")
	cmd.Flags().StringVarP(&f.password, "password", "p", "", "`PASSWORD`")
	cmd.Flags().BoolVar(&f.stdin, "password-stdin", false, "take the password from standard input")
	return cmd
}

func (a *app) logout() *cobra.Command {
	return &cobra.Command{
		Use:   "logout [HOST]",
		Short: "Log out of a registry",
		Args:  args(0, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.runLogout(first(args))
		},
	}
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

func (a *app) runLogin(ctx context.Context, host string, f *loginFlags) error {
	if err := a.askLogin(ctx, f); err != nil {
		return err
	}
	client, err := a.registry()
	if err != nil {
		return err
	}
	status, err := client.Login(ctx, host, f.user, f.password)
	if err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, status)
	return nil
}

// askLogin asks for the user name and the password, unless the flags give them.
func (a *app) askLogin(ctx context.Context, f *loginFlags) error {
	switch {
	case f.stdin && f.password != "":
		return usageError("--password and --password-stdin exclude each other")
	case f.stdin && f.user == "":
		return usageError("--password-stdin needs --username")
	case f.stdin:
		data, err := io.ReadAll(io.LimitReader(interruptible(ctx, a.stdin), maxPassword))
		if err != nil {
			return fmt.Errorf("reading the password: %w", err)
		}
		f.password = strings.TrimRight(string(data), "\r\n")
		return nil
	case f.password != "":
		fmt.Fprintln(a.stderr, "WARNING! Using --password via the CLI is insecure. Use --password-stdin.")
	case !human.IsTerminal(a.stdin):
		return usageError("standard input is no terminal to ask for the password on; use --username and --password-stdin")
	}
	lines := bufio.NewReader(interruptible(ctx, a.stdin))
	var err error
	if f.user == "" {
		if f.user, err = a.ask(lines, "Username: "); err != nil {
			return err
		}
	}
	if f.password != "" {
		return nil
	}
	restore, err := hideInput(a.stdin)
	if err != nil {
		return fmt.Errorf("asking for the password: %w; use --password-stdin", err)
	}
	defer restore()
	f.password, err = a.ask(lines, "Password: ")
	fmt.Fprintln(a.stdout) // the line end that was typed is not echoed
	return err
}

// ask reads a line from the terminal.
func (a *app) ask(lines *bufio.Reader, prompt string) (string, error) {
	fmt.Fprint(a.stdout, prompt)
	line, err := lines.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// hideInput turns off the echo of a terminal.
func hideInput(f *os.File) (restore func(), err error) {
	before, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return nil, err
	}
	hidden := *before
	hidden.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, &hidden); err != nil {
		return nil, err
	}
	return func() { _ = unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, before) }, nil
}

func (a *app) runLogout(host string) error {
	client, err := a.registry()
	if err != nil {
		return err
	}
	shown := host
	if shown == "" {
		shown = "docker.io"
	}
	err = client.Logout(host)
	if errors.Is(err, registry.ErrNotLoggedIn) {
		fmt.Fprintf(a.stdout, "Not logged in to %s\n", shown)
		return nil
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "Removing login credentials for %s\n", shown)
	return nil
}
