// Package cli is strata's command line. It has one file per command, and each command is thin: it
// parses flags, makes one call and prints the result.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/builder"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/event/trace"
	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/store/disk"
	"github.com/strata-build/strata/internal/transfer"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// Exit codes of strata. The code of `strata run` is that of its container.
const (
	exitError     = 1   // the command failed
	exitUsage     = 2   // the command line is not valid
	exitInterrupt = 130 // interrupted by Ctrl-C, the same code as in shells
)

// app has what all commands share: the streams and the store.
type app struct {
	version string
	stdin   *os.File
	stdout  *standardOutput
	stderr  *os.File

	store  *store.Store
	tracer *trace.Tracer // nil where nobody asks for traces
	counts *counts       // nil where nobody asks for metrics
}

// exit is an error that ends the process with this exit code. If err is nil, nothing is printed,
// because the command has printed its error already.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exit) Unwrap() error { return e.err }

// usageError returns an error in the command line, with its exit code.
func usageError(format string, args ...any) error {
	return &exit{exitUsage, fmt.Errorf(format, args...)}
}

// Main runs a command line, given without the program's name, and returns the exit code.
func Main(args []string, version string) int {
	a := &app{version: version, stdin: os.Stdin, stdout: &standardOutput{File: os.Stdout}, stderr: os.Stderr}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	args = pluginArgs(os.Args[0], args)
	root := a.root(args)
	root.SetArgs(args)
	strictHelp(root)
	if len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		a.complete(root)
	}
	err := betweenCommands(root, root.ExecuteContext(ctx))
	if cerr := a.closeStore(ctx); err == nil && cerr != nil {
		err = fmt.Errorf("closing the store: %w", cerr)
	}
	switch failure := a.stdout.failure(); {
	case err != nil || failure == nil:
	case errors.Is(failure, errClosedOutput):
		err = failure
	default:
		err = fmt.Errorf("writing to standard output: %w", failure)
	}
	code := a.report(ctx, err)
	a.writeCounts()
	a.endTrace(ctx)
	return code
}

// Command returns the commands with their options, for the man pages. Nothing of it can be run.
func Command(version string) *cobra.Command {
	return (&app{version: version, stdout: &standardOutput{File: os.Stdout}}).root(nil)
}

// patience is how long the disk is waited for after Ctrl-C. What is not on it by then is left to the
// next command.
const patience = 300 * time.Millisecond

// closeStore waits for the disk, and closes the store.
func (a *app) closeStore(ctx context.Context) error {
	if a.store == nil {
		return nil
	}
	for _, line := range a.store.Healed() {
		fmt.Fprintln(a.stderr, "strata:", printable(line))
	}
	if ctx.Err() == nil {
		return a.store.Close()
	}
	synced := make(chan error, 1)
	go func() { synced <- a.store.Sync() }()
	select {
	case err := <-synced:
		return errors.Join(err, a.store.Leave())
	case <-time.After(patience):
		return a.store.Leave()
	}
}

// advise adds to an error of the machine what a person can do about it, where those whom it met had nothing to say.
func (a *app) advise(err error) error {
	if a.store == nil {
		return disk.ExplainNamed("", err)
	}
	return disk.ExplainNamed(a.store.Root(), a.store.Explain(err))
}

// report prints an error and returns its exit code.
func (a *app) report(ctx context.Context, err error) int {
	var e *exit
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		if e.err != nil {
			fmt.Fprintf(a.stderr, "strata: %s\n", printable(a.advise(e.err).Error()))
		}
		return e.code
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(a.stderr, "strata: interrupted")
		return exitInterrupt
	}
	fmt.Fprintf(a.stderr, "strata: %s\n", printable(a.advise(err).Error()))
	return exitError
}

// printable replaces control characters, since messages quote Dockerfiles, archives and registries
// and are printed on a terminal.
func printable(message string) string { return strings.Map(printableRune, message) }

func printableRune(r rune) rune {
	if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
		return unicode.ReplacementChar
	}
	return r
}

// root is the command above all others, with those that args can be about.
func (a *app) root(args []string) *cobra.Command {
	cmd := &cobra.Command{
		Use:           "strata",
		Short:         "Build container images, and list, enter and compare their layers",
		Version:       a.version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          subcommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentPreRunE = enterNameSpace
	cmd.TraverseChildren = true // docker's flags in front of the command
	clientFlags(cmd.Flags())
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.SetOut(a.stdout)
	cmd.SetErr(a.stderr)
	cmd.SetFlagErrorFunc(flagError)
	cmd.SetUsageFunc(a.usage)
	cmd.SetVersionTemplate("strata {{.Version}}\n")
	cobra.EnableCommandSorting = false // in the order of the groups
	wanted := a.wanted(args)
	for _, g := range a.groups() {
		cmd.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, maker := range g.commands {
			if !wanted(maker.name) {
				continue
			}
			c := maker.make()
			c.GroupID = g.id
			cmd.AddCommand(c)
		}
	}
	plainUsage(cmd)
	addJSON(cmd)
	setExamples(cmd)
	return cmd
}

// plainUsage keeps cobra from adding "[flags]" to usage lines that say [OPTIONS] already, as
// Docker's do.
func plainUsage(cmd *cobra.Command) {
	cmd.DisableFlagsInUseLine = true
	for _, c := range cmd.Commands() {
		plainUsage(c)
	}
}

// args checks the number of a command's arguments.
func args(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch n := len(args); {
		case n < least && least == most:
			return usageError("%s takes %d argument(s), %d given; see %s --help", cmd.CommandPath(), least, n, cmd.CommandPath())
		case n < least:
			return usageError("%s takes at least %d argument(s), %d given; see %s --help", cmd.CommandPath(), least, n, cmd.CommandPath())
		case most >= 0 && n > most:
			return usageError("%s takes at most %d argument(s), %d given; see %s --help", cmd.CommandPath(), most, n, cmd.CommandPath())
		}
		return nil
	}
}

// formsVariable says in which forms layers are mounted (store.Forms).
const formsVariable = "STRATA_LAYER_FORM"

// open opens the store.
func (a *app) open() (*store.Store, error) {
	if a.store != nil {
		return a.store, nil
	}
	forms, err := store.ParseForms(os.Getenv(formsVariable))
	if err != nil {
		return nil, usageError("%s=%w", formsVariable, err)
	}
	s, err := store.Open(store.DefaultRoot())
	if err != nil {
		return nil, err
	}
	s = s.WithForms(forms)
	a.store = s
	for _, line := range unknownKeys() {
		fmt.Fprintln(a.stderr, "WARNING:", printable(line))
	}
	if lost := s.Lost(); lost != "" {
		fmt.Fprintln(a.stderr, "strata:", lost)
	}
	return s, nil
}

// mover opens the store, and connects it to the registries from which missing layers are fetched. What
// is unpacked with it keeps to the limits of the configuration.
func (a *app) mover() (*transfer.Mover, error) { return a.moverFor(event.Discard) }

// moverFor is mover with who is told of layers on their way.
func (a *app) moverFor(events event.Sink) (*transfer.Mover, error) {
	s, err := a.open()
	if err != nil {
		return nil, err
	}
	client, err := a.registry()
	if err != nil {
		return nil, err
	}
	limits, err := unpackLimits()
	if err != nil {
		return nil, err
	}
	m := transfer.New(s.WithLimits(limits), client, platform.Local(), builder.BlobSources()...).With(events)
	a.store = m.Store
	return m, nil
}

func (a *app) registry() (*registry.Client, error) {
	c, err := loadConfig()
	if err != nil {
		return nil, err
	}
	return registry.New(registry.Config{
		Insecure:  c.InsecureRegistries,
		CertsDir:  c.CertsDirs,
		UserAgent: "strata/" + a.version,
	}), nil
}
