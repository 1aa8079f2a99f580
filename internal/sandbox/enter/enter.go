// Package enter runs a command in the state that an image, a step or a history row stands for. What the
// command changes is thrown away.
package enter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/sandbox/network"
	"github.com/strata-build/strata/internal/sandbox/plainroot"
	"github.com/strata-build/strata/internal/sandbox/runner"
	"github.com/strata-build/strata/internal/sandbox/tracefs"
	"github.com/strata-build/strata/internal/sandbox/workspace"
	"github.com/strata-build/strata/internal/store"
)

// Options are what `strata run` is asked for. What is empty comes from the image.
type Options struct {
	Args       []string
	Env        []string // KEY=VALUE, over the image's
	Entrypoint *string  // replaces the image's, and its Cmd; "" takes it away
	Dir, User  string
	Network    runner.Network
	Allow      *network.Allow // where not nil, all that may be reached from a network of its own
	Machine    runner.Machine
	ReadOnly   bool
	Rights     runner.Rights
	Shown
	Init    bool // an init program is process 1
	Lazy    bool // of layers that are elsewhere only what is read is fetched, where that can be
	Streams runner.Streams
	Warn    func(line string) // as that of runner.Spec
}

// Shown is what a command sees beside the image.
type Shown struct {
	Binds   []runner.Bind
	Volumes []Volume
}

// ErrNoCommand says that neither the person nor the image names a command.
var ErrNoCommand = errors.New("no command: the image names none; give one, such as /bin/sh")

// Run runs the command in the state with the config c, and returns its exit code. Errors come with an exit
// code of package runner.
func Run(ctx context.Context, s *store.Store, c *store.Config, o Options) (int, error) {
	config, err := image.Parse(c.Data)
	if err != nil {
		return runner.ExitSandbox, err
	}
	spec := o.spec(config)
	if len(spec.Args) == 0 {
		return runner.ExitSandbox, ErrNoCommand
	}
	if err := s.BeginReading(); err != nil {
		return runner.ExitSandbox, err
	}
	if !s.ReadOnly() {
		if err := s.Touch(c.ID); err != nil {
			return runner.ExitSandbox, err
		}
	}
	if o.Init && (plainroot.Needed() || !underInit(&spec)) && o.Warn != nil {
		o.Warn("--init: this machine has no docker-init and no tini-static, so the command is process 1 itself")
	}
	binds, release, err := takeVolumes(ctx, s, config.RootFS.DiffIDs, o.Volumes)
	if err != nil {
		return runner.ExitSandbox, err
	}
	defer release()
	spec.Binds = append(spec.Binds, binds...)
	if plainroot.Needed() {
		if o.Allow != nil {
			return runner.ExitSandbox, errors.New("limiting what a command reaches takes a name space, which cannot be made here; leave --network-allow out, or see strata info")
		}
		return runPlain(ctx, s, config, spec, binds)
	}
	spec.Connection = runner.Connect(o.Network, o.Machine, o.Allow)
	defer spec.Connection.Close()
	spec.Arch = platform.Normal(config.Platform).Architecture
	for lazy := o.Lazy; ; {
		layers, err := open(ctx, s, config.RootFS.DiffIDs, lazy)
		if err != nil {
			return runner.ExitSandbox, err
		}
		code, err := run(ctx, layers, spec)
		if errors.Is(err, tracefs.ErrUnavailable) {
			lazy = false // nothing was run
			continue
		}
		if !errors.Is(layers.lowers.Trusted(ctx), store.ErrUnsealed) {
			tellNetwork(spec, code)
			return code, err
		}
		// Nothing was run. What is damaged is made again.
		if err := s.Mend(ctx, config.RootFS.DiffIDs); err != nil {
			return runner.ExitSandbox, err
		}
	}
}

// tellNetwork says what a command that failed may have lacked on its network.
func tellNetwork(spec runner.Spec, code int) {
	if report, known := spec.Connection.Report(); known && code != 0 && spec.Warn != nil {
		if advice := report.Advice("the command"); advice != "" {
			spec.Warn(advice)
		}
	}
}

// run runs the command on layers, once all of them are trusted.
func run(ctx context.Context, layers *layers, spec runner.Spec) (int, error) {
	m, err := mount(ctx, layers)
	if err != nil {
		return runner.ExitSandbox, err
	}
	defer m.done()
	if spec.Owners, err = workspace.Owners(ctx, m.Root(), layers.below, layers.served()); err != nil {
		return runner.ExitSandbox, err
	}
	spec.Rootfs, spec.StateDir, spec.Gate = m.Root(), m.state, layers.lowers.Trusted
	code, err := runner.Run(ctx, spec)
	tellFailed(m.served, spec.Warn)
	return code, err
}

// spec combines options and image as Docker does (docker run reference, "Overriding image defaults").
func (o Options) spec(c *image.Config) runner.Spec {
	entrypoint, cmd := c.Config.Entrypoint, c.Config.Cmd
	if o.Entrypoint != nil {
		entrypoint, cmd = nil, nil
		if *o.Entrypoint != "" {
			entrypoint = []string{*o.Entrypoint}
		}
	}
	if len(o.Args) > 0 {
		cmd = o.Args
	}
	// As Docker: the container's own variables first, so that the image and the person can change them.
	env := []string{"HOSTNAME=" + o.Machine.Hostname}
	if o.Streams.Terminal {
		env = append(env, "TERM=xterm")
	}
	env = slices.Concat(env, c.Config.Env, o.Env)
	s := runner.Spec{
		Args: slices.Concat(entrypoint, cmd), Env: env, Dir: c.Config.WorkingDir, User: c.Config.User,
		Network: o.Network, Machine: o.Machine, Streams: o.Streams, Hooks: runner.Hooks{Warn: o.Warn}, ReadOnly: o.ReadOnly, Rights: o.Rights, Binds: o.Binds,
	}
	if o.Dir != "" {
		s.Dir = o.Dir
	}
	if o.User != "" {
		s.User = o.User
	}
	return s
}

// mounted is a state with a layer on top that done throws away.
type mounted struct {
	*workspace.Workspace
	dir, state string // state is an empty folder for the container's own files
	served     *tracefs.Mount
}

// mount mounts the state that layers give.
func mount(ctx context.Context, l *layers) (*mounted, error) {
	entry, err := rootEntry(ctx, l.store, l.chain)
	if err != nil {
		return nil, err
	}
	m := &mounted{}
	if m.dir, err = l.store.Scratch("enter"); err != nil {
		return nil, err
	}
	if err := m.mount(ctx, l, workspace.OfRoot(entry)); err != nil {
		m.done()
		return nil, err
	}
	return m, nil
}

func (m *mounted) mount(ctx context.Context, l *layers, root workspace.Attributes) (err error) {
	var lowers []store.Lower
	if lowers, m.served, err = l.serve(ctx, m.dir); err != nil {
		return err
	}
	m.Workspace, err = workspace.Mount(m.dir, lowers, root)
	if m.served != nil {
		_ = m.served.Detach() // what stays is swept when the store is opened next
		if err != nil {
			err = fmt.Errorf("%w: %w", tracefs.ErrUnavailable, err)
		}
	}
	if err != nil {
		return err
	}
	m.state = filepath.Join(m.dir, "state")
	if err := workspace.Mkdir(m.state, 0o700); err != nil {
		return fmt.Errorf("preparing a container: %w", err)
	}
	return nil
}

func (m *mounted) done() {
	if m.Workspace != nil {
		_ = m.Unmount()
	}
	if m.served != nil {
		_ = m.served.Close()
	}
	_ = os.RemoveAll(m.dir) // what stays is swept when the store is opened next
}

// rootEntry is the root's entry in the topmost layer that has one, nil if none has. Layers below that one are not read.
func rootEntry(ctx context.Context, s *store.Store, chain []digest.Digest) (*layer.Entry, error) {
	layers, err := s.Chain(chain)
	if err != nil {
		return nil, err
	}
	for _, l := range slices.Backward(layers) {
		t, err := l.Source().TOC(ctx)
		if err != nil {
			return nil, err
		}
		if root := t.Lookup(""); root != nil {
			return root, nil
		}
	}
	return nil, nil
}
