// Package enter runs a command in the state that an image, a step or a history row stands for. What the
// command changes is thrown away.
package enter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/sandbox/runner"
	"github.com/strata-build/strata/internal/sandbox/snapshot"
	"github.com/strata-build/strata/internal/store"
)

// Options are what `strata run` is asked for. What is empty comes from the image.
type Options struct {
	Args       []string
	Env        []string // KEY=VALUE, over the image's
	Entrypoint *string  // replaces the image's, and its Cmd; "" takes it away
	Dir, User  string
	Hostname   string
	Network    runner.Network
	Machine    runner.Machine
	ReadOnly   bool
	Binds      []runner.Bind
	Terminal   bool
	Stdin      io.Reader
	Stdout     io.Writer
	Stderr     io.Writer
	Signals    <-chan os.Signal
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
	if err := s.Begin(); err != nil {
		return runner.ExitSandbox, err
	}
	if err := s.Touch(c.ID); err != nil {
		return runner.ExitSandbox, err
	}
	root, done, err := mount(ctx, s, config)
	if err != nil {
		return runner.ExitSandbox, err
	}
	defer done()
	spec.Rootfs = filepath.Join(root, "root")
	spec.Arch = platform.Normal(config.Platform).Architecture
	spec.StateDir = filepath.Join(root, "state")
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
	env := []string{"HOSTNAME=" + o.Hostname}
	if o.Terminal {
		env = append(env, "TERM=xterm")
	}
	env = slices.Concat(env, c.Config.Env, o.Env)
	s := runner.Spec{
		Args: slices.Concat(entrypoint, cmd), Env: env, Dir: c.Config.WorkingDir, User: c.Config.User,
		Hostname: o.Hostname, Network: o.Network, Machine: o.Machine, Warn: o.Warn, ReadOnly: o.ReadOnly, Binds: o.Binds,
		Terminal: o.Terminal, Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Signals: o.Signals,
	}
	if o.Dir != "" {
		s.Dir = o.Dir
	}
	if o.User != "" {
		s.User = o.User
	}
	return s
}

// mount mounts the state at <dir>/root, with a layer on top that done throws away.
func mount(ctx context.Context, s *store.Store, c *image.Config) (dir string, done func(), err error) {
	lowers, err := s.Trees(ctx, c.RootFS.DiffIDs)
	if err != nil {
		return "", nil, err
	}
	dir, err = s.Temp("enter")
	if err != nil {
		return "", nil, err
	}
	done = func() {
		snapshot.Unmount(filepath.Join(dir, "root"))
		os.RemoveAll(dir)
	}
	for _, name := range []string{"root", "upper", "work", "state"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			done()
			return "", nil, fmt.Errorf("preparing a container: %w", err)
		}
	}
	if err := setRoot(ctx, s, c.RootFS.DiffIDs, filepath.Join(dir, "upper")); err != nil {
		done()
		return "", nil, fmt.Errorf("preparing a container: %w", err)
	}
	err = snapshot.Mount(filepath.Join(dir, "root"), lowers, snapshot.Options{
		Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"),
	})
	if err != nil {
		done()
		return "", nil, err
	}
	return dir, done, nil
}

// setRoot gives the upper directory what the topmost layer that says something of the root says, since
// overlayfs shows the upper's.
func setRoot(ctx context.Context, s *store.Store, chain []digest.Digest, upper string) error {
	layers, err := s.Layers(chain)
	if err != nil {
		return err
	}
	for _, l := range slices.Backward(layers) {
		t, err := l.TOC(ctx)
		if err != nil {
			return err
		}
		if root := t.Lookup(""); root != nil {
			return errors.Join(unix.Chown(upper, root.UID, root.GID), unix.Chmod(upper, root.Mode))
		}
	}
	return nil
}
