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
	Binds      []runner.Bind
	Volumes    []Volume
	Init       bool // an init program is process 1
	Streams    runner.Streams
	Warn       func(line string) // as that of runner.Spec
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
	for {
		lowers, err := s.Lowers(ctx, config.RootFS.DiffIDs, nil)
		if err != nil {
			return runner.ExitSandbox, err
		}
		code, err := run(ctx, s, config, lowers, spec)
		if !errors.Is(lowers.Trusted(ctx), store.ErrUnsealed) {
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

// run runs the command on lowers, once all of them are trusted.
func run(ctx context.Context, s *store.Store, config *image.Config, lowers *store.Lowers, spec runner.Spec) (int, error) {
	root, state, done, err := mount(ctx, s, config, lowers.All)
	if err != nil {
		return runner.ExitSandbox, err
	}
	defer done()
	below, err := s.Stack(config.RootFS.DiffIDs)
	if err != nil {
		return runner.ExitSandbox, err
	}
	if spec.Owners, err = workspace.Owners(ctx, root, below, nil); err != nil {
		return runner.ExitSandbox, err
	}
	spec.Rootfs, spec.StateDir, spec.Gate = root, state, lowers.Trusted
	return runner.Run(ctx, spec)
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

// mount mounts the state with a layer on top that done throws away, and makes an empty folder for
// the container's own files.
func mount(ctx context.Context, s *store.Store, c *image.Config, lowers []store.Lower) (root, state string, done func(), err error) {
	entry, err := rootEntry(ctx, s, c.RootFS.DiffIDs)
	if err != nil {
		return "", "", nil, err
	}
	dir, err := s.Scratch("enter")
	if err != nil {
		return "", "", nil, err
	}
	remove := func() { _ = os.RemoveAll(dir) } // what stays is swept when the store is opened next
	w, err := workspace.Mount(dir, lowers, workspace.OfRoot(entry))
	if err != nil {
		remove()
		return "", "", nil, err
	}
	done = func() {
		_ = w.Unmount()
		remove()
	}
	state = filepath.Join(dir, "state")
	if err := workspace.Mkdir(state, 0o700); err != nil {
		done()
		return "", "", nil, fmt.Errorf("preparing a container: %w", err)
	}
	return w.Root(), state, done, nil
}

// rootEntry is the root's entry in the topmost layer that has one, nil if none has. Layers below that one are not read.
func rootEntry(ctx context.Context, s *store.Store, chain []digest.Digest) (*layer.Entry, error) {
	layers, err := s.Chain(chain)
	if err != nil {
		return nil, err
	}
	for _, l := range slices.Backward(layers) {
		t, err := l.TOC(ctx)
		if err != nil {
			return nil, err
		}
		if root := t.Lookup(""); root != nil {
			return root, nil
		}
	}
	return nil, nil
}
