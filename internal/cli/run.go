package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/containerd/console"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/look/history"
	"github.com/strata-build/strata/internal/sandbox/enter"
	"github.com/strata-build/strata/internal/sandbox/runner"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer"
)

type runFlags struct {
	interactive, tty, remove, readOnly             bool
	env, envFiles, volumes, networkAllow           []string
	dir, user, entrypoint, network, name, hostname string
	platform                                       string
	lazy                                           lazyFlag

	machine machineFlags
	docker  dockerRunFlags
}

func (a *app) run() *cobra.Command {
	f := &runFlags{}
	cmd := &cobra.Command{
		Use:     "run [OPTIONS] IMAGE|STEP-ID [COMMAND] [ARG...]",
		Aliases: []string{"enter"},
		Short:   "Run a command in an image, a step or a history row; changes are discarded",
		Args:    args(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runRun(cmd, args[0], args[1:], f)
		},
	}
	f.register(cmd)
	return cmd
}

func (f *runFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.SetInterspersed(false)
	fl.BoolVarP(&f.interactive, "interactive", "i", false, "connect standard input to the command")
	fl.BoolVarP(&f.tty, "tty", "t", false, "give the command a terminal")
	fl.BoolVar(&f.remove, "rm", true, "discard the changes, which is always done")
	fl.BoolVar(&f.readOnly, "read-only", false, "mount the root file system read-only")
	fl.VarP((*listFlag)(&f.env), "env", "e", "environment variable, as `NAME=VALUE`; NAME alone takes the value from the environment")
	fl.Var((*listFlag)(&f.envFiles), "env-file", "`FILE` of environment variables, one per line")
	fl.VarP((*listFlag)(&f.volumes), "volume", "v", "show a path of this machine, or a volume that the store keeps, as `PATH|NAME:TARGET[:ro]`")
	fl.StringVarP(&f.dir, "workdir", "w", "", "working `DIRECTORY`")
	fl.StringVarP(&f.user, "user", "u", "", "user, as `NAME|UID[:GROUP|GID]`")
	fl.StringVar(&f.entrypoint, "entrypoint", "", "`COMMAND` in place of the image's entrypoint")
	fl.StringVar(&f.network, "network", "default", "`NETWORK` of the command: bridge, its own; host, this machine's; or none (default STRATA_NETWORK, or "+string(runner.DefaultNetwork)+")")
	networkAllowFlag(fl, &f.networkAllow, "the command")
	fl.StringVar(&f.network, "net", "default", "another name of --network")
	_ = fl.MarkHidden("net")
	fl.StringVar(&f.name, "name", "", "`NAME` of the container, also its host name")
	fl.StringVarP(&f.hostname, "hostname", "h", "", "host `NAME`")
	platformFlag(fl, &f.platform)
	registerLazy(fl, &f.lazy, "the command reads")
	f.machine.register(fl)
	f.docker.register(fl)
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { // as docker run, whose other codes are the command's
		return &exit{runner.ExitSandbox, fmt.Errorf("%w; see %s --help", explainFlag(cmd, err), cmd.CommandPath())}
	})
	fl.Bool("help", false, "help for "+cmd.Name()) // -h is the host name, as in docker run
}

func (a *app) runRun(cmd *cobra.Command, name string, command []string, f *runFlags) error {
	o, err := f.options(cmd, command)
	if err == nil {
		err = f.lazy.check(cmd.Flags(), name)
	}
	if err != nil {
		return &exit{runner.ExitSandbox, err}
	}
	config := a.readDockerConfig()
	var proxies []string
	for name, value := range config.proxyVariables() {
		proxies = append(proxies, name+"="+value)
	}
	slices.Sort(proxies)
	o.Env = append(proxies, o.Env...)
	o.Warn = func(line string) { fmt.Fprintln(a.stderr, human.Clean(line)) }
	for _, line := range f.lazy.warnings() {
		o.Warn("WARNING: " + line)
	}
	if err := a.connect(&o, f); err != nil {
		return err
	}
	m, err := a.mover()
	if err != nil {
		return &exit{runner.ExitSandbox, err}
	}
	m.Parts = f.lazy.parts
	c, err := a.findToRun(cmd.Context(), m, name, f)
	if err == nil {
		err = m.NoteParts(name, c)
	}
	if err != nil {
		return &exit{runner.ExitSandbox, err}
	}
	if o.Machine.Hostname == "" {
		o.Machine.Hostname = image.ShortID(c.ID)
	}
	if err := f.writeCID(store.NewContainerID()); err != nil {
		return &exit{runner.ExitSandbox, err}
	}
	ctx, stop := forwardSignals(cmd.Context(), &o)
	defer stop()
	code, err := enter.Run(ctx, m.Store, c, o)
	if err != nil || code != 0 {
		return &exit{code, err}
	}
	return nil
}

// findToRun finds the image, step or row to run, in the store or, as --pull says, in its registry. Without a
// platform it is the image that the name means in the store, for any platform.
func (a *app) findToRun(ctx context.Context, m *transfer.Mover, name string, f *runFlags) (*store.Config, error) {
	p, err := parsePlatform(f.platform)
	if err != nil {
		return nil, err
	}
	if f.docker.pull == "always" {
		return m.Base(ctx, name, transfer.Wanted{Platform: p, Pull: true})
	}
	c, err := a.findToRunHere(name, f.platform, p)
	var other *store.PlatformError
	unknown := errors.Is(err, store.ErrNotFound)
	if f.docker.pull == "never" || !unknown && !(errors.As(err, &other) && other.ID == "") {
		return c, err
	}
	if unknown {
		fmt.Fprintf(a.stderr, "Unable to find image %q here, asking its registry\n", name)
	}
	return m.Base(ctx, name, transfer.Wanted{Platform: p})
}

// findToRunHere is find for the platform that --platform or DOCKER_DEFAULT_PLATFORM asks for, if one of them does. An
// ID is that of one image: it is refused only where --platform contradicts it.
func (a *app) findToRunHere(name, flag string, p ocispec.Platform) (*store.Config, error) {
	if !platformAsked(flag) {
		return a.find(name)
	}
	c, err := a.findOnly(name, &p)
	var other *store.PlatformError
	if flag == "" && errors.As(err, &other) && other.ID != "" {
		return a.find(name)
	}
	return c, err
}

func (f *runFlags) options(cmd *cobra.Command, command []string) (enter.Options, error) {
	o := enter.Options{
		Args: command, Dir: f.dir, User: f.user, ReadOnly: f.readOnly, Lazy: f.lazy.parts != transfer.NoParts,
	}
	if cmd.Flags().Changed("entrypoint") {
		o.Entrypoint = &f.entrypoint
	}
	if f.dir != "" && !filepath.IsAbs(f.dir) {
		return o, usageError("--workdir %s: it takes an absolute path", f.dir)
	}
	var err error
	if o.Network, err = parseNetwork(f.network); err != nil {
		return o, err
	}
	if o.Allow, err = parseAllow(f.networkAllow); err != nil {
		return o, err
	}
	if o.Machine, err = f.machine.machine(); err != nil {
		return o, err
	}
	o.Machine.Hostname = cmp.Or(f.hostname, f.name)
	o.Streams.Terminal = f.tty
	for _, file := range f.envFiles {
		lines, err := readEnvFile(file)
		if err != nil {
			return o, err
		}
		o.Env = append(o.Env, lines...)
	}
	for _, kv := range f.env {
		if kv, ok := envVariable(kv); ok {
			o.Env = append(o.Env, kv)
		}
	}
	if err := f.docker.apply(&o); err != nil {
		return o, err
	}
	for _, v := range f.volumes {
		if err := addVolume(&o, v); err != nil {
			return o, err
		}
	}
	return o, nil
}

// envVariable returns NAME=VALUE unchanged. For NAME alone it adds the value from the environment,
// if there is one.
func envVariable(kv string) (string, bool) {
	if strings.Contains(kv, "=") {
		return kv, true
	}
	value, ok := os.LookupEnv(kv)
	return kv + "=" + value, ok
}

// readEnvFile reads a --env-file: one variable a line, "#" begins a comment line.
func readEnvFile(name string) ([]string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading --env-file: %w", err)
	}
	defer f.Close()
	var env []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := strings.TrimLeft(lines.Text(), " \t")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if kv, ok := envVariable(line); ok {
			env = append(env, kv)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading --env-file %s: %w", name, err)
	}
	return env, nil
}

// addVolume adds what a --volume names: a path of this machine, the name of a volume, or a directory for the
// command alone.
func addVolume(o *enter.Options, v string) error {
	parts := strings.Split(v, ":")
	if len(parts) == 1 && filepath.IsAbs(v) {
		o.Volumes = append(o.Volumes, enter.Volume{Target: v})
		return nil
	}
	if len(parts) < 2 || len(parts) > 3 || !filepath.IsAbs(parts[1]) {
		return usageError("--volume %s: it takes PATH:TARGET[:ro] or NAME:TARGET[:ro], with an absolute TARGET", v)
	}
	readOnly, empty := false, false
	if len(parts) == 3 {
		for option := range strings.SplitSeq(parts[2], ",") {
			switch option {
			case "ro":
				readOnly = true
			case "nocopy":
				empty = true
			case "rw", "z", "Z", "cached", "delegated", "consistent", "private", "rprivate":
			default:
				return usageError("--volume %s: the options are ro, rw and nocopy", v)
			}
		}
	}
	if !strings.Contains(parts[0], "/") && parts[0] != "." && parts[0] != ".." {
		if !store.VolumeName.MatchString(parts[0]) {
			return usageError("--volume %s: a volume's name has letters, digits, _, . and -; begin a path with ./", v)
		}
		o.Volumes = append(o.Volumes, enter.Volume{Name: parts[0], Target: parts[1], ReadOnly: readOnly, Empty: empty})
		return nil
	}
	source, err := bindSource(parts[0], true)
	if err != nil {
		return fmt.Errorf("--volume %s: %w", v, err)
	}
	o.Binds = append(o.Binds, runner.Bind{Source: source, Target: parts[1], ReadOnly: readOnly})
	return nil
}

// bindSource is the absolute path of what is to be shown. Docker makes the directory of a -v that is not there, and
// none for a --mount.
func bindSource(path string, makes bool) (string, error) {
	if path == "" {
		return "", errors.New("it needs a path of this machine")
	}
	source, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if _, err = os.Stat(source); makes && errors.Is(err, fs.ErrNotExist) {
		err = os.MkdirAll(source, 0o755)
	}
	if err != nil {
		return "", fmt.Errorf("%w; make it first", err)
	}
	return source, nil
}

// connect connects the command to strata's standard streams.
func (a *app) connect(o *enter.Options, f *runFlags) error {
	o.Streams.Stdout, o.Streams.Stderr = a.stdout, a.stderr
	if f.tty {
		o.Streams.Stdout = a.stdout.File
	}
	if f.interactive {
		o.Streams.Stdin = a.stdin
	}
	if f.tty && f.interactive {
		if _, err := console.ConsoleFromFile(a.stdin); err != nil {
			return &exit{exitError, errors.New("-t needs a terminal, and standard input is none; leave -t out")} // docker's code
		}
	}
	return nil
}

// forwardSignals forwards signals to the command, as docker run does, instead of ending. The third
// interrupt kills the command, and so does a hangup of the terminal.
func forwardSignals(ctx context.Context, o *enter.Options) (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	in := make(chan os.Signal, 16)
	signal.Notify(in, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	out := make(chan os.Signal, 16)
	o.Streams.Signals = out
	go func() {
		asked := 0
		for s := range in {
			if s == os.Interrupt || s == syscall.SIGTERM {
				asked++
			}
			if asked == 3 || s == syscall.SIGHUP {
				cancel()
			}
			select {
			case out <- s:
			default:
			}
		}
	}()
	return ctx, func() {
		signal.Stop(in)
		close(in)
		cancel()
	}
}

// findOnly is find, restricted to a platform if only is not nil.
func (a *app) findOnly(text string, only *ocispec.Platform) (*store.Config, error) {
	c, err := a.find(text)
	if err != nil || only == nil {
		return c, err
	}
	id, err := a.store.ResolveFor(text, *only)
	if errors.Is(err, store.ErrNotFound) {
		return c, nil // a history row
	}
	if err != nil {
		return nil, err
	}
	return a.store.Config(id)
}

func (a *app) find(text string) (*store.Config, error) {
	s, err := a.open()
	if err != nil {
		return nil, err
	}
	return history.Find(s, text)
}
