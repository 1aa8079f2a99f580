package solver

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/dockerfile"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/runner"
	"github.com/strata-build/strata/internal/snapshot"
	"github.com/strata-build/strata/internal/store"
)

// runOperation is a RUN. Its key holds the argv after the shell form, the environment and build arguments in
// scope but not the proxies, the user, the working directory and the network.
func (s *Solver) runOperation(parent *State, step *dockerfile.Step) (*operation, error) {
	r := step.Run
	key := &cache.Key{Kind: "RUN"}
	key.Add("arg", r.Args...)
	key.Add("env", slices.Sorted(slices.Values(r.Env))...)
	key.Add("user", r.User)
	key.Add("dir", r.Dir)
	network := s.network(r)
	key.Add("network", string(network))
	return &operation{key: key, run: func(ctx context.Context) (digest.Digest, error) {
		return s.run(ctx, parent, step, network)
	}}, nil
}

func (s *Solver) network(r *dockerfile.Run) runner.Network {
	switch {
	case r.Network == "none":
		return runner.NetworkNone
	case r.Network == "" || r.Network == "default":
		return s.Network
	}
	return runner.NetworkHost
}

// run runs a RUN on top of parent. The overlay's upper directory is where the layer's tree will be: it
// becomes the layer by a rename.
func (s *Solver) run(ctx context.Context, parent *State, step *dockerfile.Step, network runner.Network) (digest.Digest, error) {
	w, err := s.mount(ctx, parent)
	if err != nil {
		return "", err
	}
	defer w.remove()
	state := filepath.Join(w.dir, "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		return "", fmt.Errorf("preparing a container: %w", err)
	}
	code, runErr := runner.Run(ctx, runner.Spec{
		Rootfs:   w.root,
		Args:     step.Run.Args,
		Env:      slices.Concat(step.Run.ProxyEnv, step.Run.Env),
		Dir:      step.Run.Dir,
		User:     step.Run.User,
		Network:  network,
		StateDir: state,
		Stdout:   output{s.Report, step, 1},
		Stderr:   output{s.Report, step, 2},
	})
	if err := w.unmount(); err != nil {
		return "", err
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if runErr != nil || code != 0 {
		failure := &StepError{Args: step.Run.Args, ExitCode: code, Cause: runErr}
		failure.State = s.keepFailed(ctx, w, parent, step)
		return "", failure
	}
	return w.commit(ctx)
}

// output passes a stream of a container on to the Reporter.
type output struct {
	report Reporter
	step   *dockerfile.Step
	stream int
}

func (o output) Write(p []byte) (int, error) {
	o.report.Output(o.step, o.stream, p)
	return len(p), nil
}

// keepFailed keeps what a failed step left, so that a person can enter it. It is a courtesy: where it fails
// itself, the step's own error is what counts.
func (s *Solver) keepFailed(ctx context.Context, w *work, parent *State, step *dockerfile.Step) digest.Digest {
	diffID, err := w.commit(ctx)
	if err != nil {
		return ""
	}
	now := time.Now().UTC()
	row := image.History{Created: &now, CreatedBy: step.CreatedBy(""), Comment: "failed"}
	state, err := s.put(parent, image.Add(parent.Config, step.Config, row, diffID), store.Failed)
	if err != nil {
		return ""
	}
	return state.ID
}

// work is a state that is mounted so that it can be changed.
type work struct {
	store   *store.Store
	dir     string // everything below; layer/fs is the overlay's upper directory
	root    string // where it is mounted
	below   *layer.Stack
	mounted bool

	keepEmpty bool // see Solver.keepEmpty
}

func (s *Solver) mount(ctx context.Context, parent *State) (*work, error) {
	below, err := parent.stack(ctx)
	if err != nil {
		return nil, err
	}
	lowers, err := s.Store.Trees(ctx, parent.Chain())
	if err != nil {
		return nil, err
	}
	dir, err := s.Store.Temp("run")
	if err != nil {
		return nil, err
	}
	w := &work{store: s.Store, dir: dir, root: filepath.Join(dir, "root"), below: below, keepEmpty: s.keepEmpty()}
	upper, scratch := filepath.Join(dir, "layer", "fs"), filepath.Join(dir, "work")
	for _, d := range []string{w.root, filepath.Dir(upper), upper, scratch} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return nil, fmt.Errorf("preparing a layer: %w", err)
		}
	}
	if err := copyRootAttributes(lowers, upper); err != nil {
		return nil, fmt.Errorf("preparing a layer: %w", err)
	}
	if err := snapshot.Mount(w.root, lowers, snapshot.Options{Upper: upper, Work: scratch}); err != nil {
		w.remove()
		return nil, err
	}
	w.mounted = true
	return w, nil
}

// copyRootAttributes gives the upper directory owner and mode of the root below it: overlayfs shows those of
// the topmost layer.
func copyRootAttributes(lowers []string, upper string) error {
	if len(lowers) == 0 {
		return nil
	}
	st, err := os.Stat(lowers[0])
	if err != nil {
		return err
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		if err := os.Chown(upper, int(sys.Uid), int(sys.Gid)); err != nil {
			return err
		}
	}
	return os.Chmod(upper, st.Mode().Perm()|st.Mode()&(os.ModeSticky|os.ModeSetgid|os.ModeSetuid))
}

func (w *work) unmount() error {
	if !w.mounted {
		return nil
	}
	w.mounted = false
	return snapshot.Unmount(w.root)
}

func (w *work) remove() {
	w.unmount()
	os.RemoveAll(w.dir)
}

// keepEmpty tells whether a step that changed nothing has a layer all the same: an empty one in BuildKit's
// images, none in those of the classic builder.
func (s *Solver) keepEmpty() bool { return s.Engine != dockerfile.Classic }

// commit makes a layer of what changed; "" if nothing did and such a step has none.
func (w *work) commit(ctx context.Context) (digest.Digest, error) {
	dir := filepath.Join(w.dir, "layer")
	t, diffID, _, err := layer.DiffTree(ctx, filepath.Join(dir, "fs"), w.below)
	if err != nil {
		return "", fmt.Errorf("reading what the step changed: %w", err)
	}
	if len(t.Entries) == 0 && !w.keepEmpty {
		return "", nil
	}
	if _, err := w.store.AddLayer(diffID, t, dir); err != nil {
		return "", err
	}
	return diffID, nil
}

// workdirOperation is a WORKDIR: a directory with its parents, made where they are missing, which the USER
// owns in BuildKit and root in the classic builder.
func (s *Solver) workdirOperation(parent *State, step *dockerfile.Step) (*operation, error) {
	key := &cache.Key{Kind: "WORKDIR"}
	path := strings.Trim(step.Workdir.Path, "/")
	key.Add("path", path)
	user := ""
	if s.Engine != dockerfile.Classic {
		user = step.Workdir.User
		key.Add("user", user)
	}
	return &operation{key: key, run: func(ctx context.Context) (digest.Digest, error) {
		below, err := parent.stack(ctx)
		if err != nil {
			return "", err
		}
		owner, err := lookupOwner(below, user)
		if err != nil {
			return "", err
		}
		c := newCopier(below, owner)
		target, err := c.resolve(path)
		if err != nil {
			return "", err
		}
		if err := c.makeDirs(target, 0o755); err != nil {
			return "", err
		}
		return c.commit(ctx, s.Store, s.keepEmpty())
	}}, nil
}

// joinArgs shows an argv as BuildKit does in its errors: separated by spaces.
func joinArgs(args []string) string { return strings.Join(args, " ") }
