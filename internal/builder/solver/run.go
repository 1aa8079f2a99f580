package solver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/sandbox/runner"
	"github.com/strata-build/strata/internal/sandbox/workspace"
	"github.com/strata-build/strata/internal/store"
)

// runOperation is a RUN. Its key holds the argv after the shell form, the environment and build arguments in
// scope but not the proxies, the user, the working directory, the network and the mounts. files are the context.
func (s *Solver) runOperation(ctx context.Context, parent *State, step *dockerfile.Step, files layer.Tree) (*operation, error) {
	r := step.Run
	mounts, err := s.findMounts(ctx, step, files)
	if err != nil {
		return nil, err
	}
	key := &cache.Key{Kind: cache.KindRun}
	key.Add(cache.PartArg, r.Args...)
	key.Add(cache.PartEnv, slices.Sorted(slices.Values(r.Env))...)
	key.Add(cache.PartUser, r.User)
	key.Add(cache.PartDir, r.Dir)
	network := s.network(r)
	key.Add(cache.PartNetwork, string(network))
	s.addMachine(key, r)
	addMounts(key, mounts)
	addSecrets(key, r)
	if r.Script != nil {
		key.Add(cache.PartScript, r.Script.Text)
	}
	op := &operation{key: key, run: func(ctx context.Context) (digest.Digest, error) {
		return s.run(ctx, parent, step, network, mounts)
	}}
	for _, m := range mounts {
		if m.sel != nil {
			op.selected = append(op.selected, m.sel.steps()...)
			op.mounts = append(op.mounts, MountInput{Mount: m.Mount, List: func() (*layer.TOC, error) { return m.list(ctx) }})
		}
	}
	return op, nil
}

// addMachine adds what the process can tell of the machine: hosts by their names, which is what BuildKit counts (its
// ExecOp.CacheMap), /dev/shm and limits where they are not the usual ones. A cgroup limits how fast a step is.
func (s *Solver) addMachine(key *cache.Key, r *dockerfile.Run) {
	var hosts, limits []string
	for _, h := range s.Machine.Hosts {
		hosts = append(hosts, h.Name)
	}
	for _, l := range s.Machine.Ulimits {
		limits = append(limits, l.String())
	}
	if len(hosts) > 0 {
		key.Add(cache.PartHost, hosts...)
	}
	if s.Hostname != "" {
		key.Add(cache.PartHostname, s.Hostname)
	}
	if len(limits) > 0 {
		key.Add(cache.PartUlimit, limits...)
	}
	if size := s.Machine.ShmSize; size != 0 && size != runner.DefaultShmSize {
		key.Add(cache.PartShm, strconv.FormatInt(size, 10))
	}
	if r.Insecure {
		key.Add(cache.PartSecurity, "insecure")
	}
}

// warnOnce warns of what every step of a build would warn of.
func (s *Solver) warnOnce(line string) {
	s.mu.Lock()
	known := slices.Contains(s.warned, line)
	if !known {
		s.warned = append(s.warned, line)
	}
	s.mu.Unlock()
	if !known && s.Warn != nil {
		s.Warn(line)
	}
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
func (s *Solver) run(ctx context.Context, parent *State, step *dockerfile.Step, network runner.Network, mounts []*mount) (digest.Digest, error) {
	w, err := s.mount(ctx, parent)
	if err != nil {
		return "", err
	}
	defer w.remove()
	state := filepath.Join(w.dir, "state")
	if err := workspace.Mkdir(state, 0o700); err != nil {
		return "", fmt.Errorf("preparing a container: %w", err)
	}
	all, err := s.mountAll(ctx, w.dir, mounts, step)
	defer all.release()
	if err != nil {
		return "", err
	}
	given, err := s.giveSecrets(ctx, state, step.Run)
	defer given.stop()
	if err != nil {
		return "", err
	}
	stdout, stderr := s.output(step, 1), s.output(step, 2)
	code, runErr := runner.Run(ctx, runner.Spec{
		Rootfs:   w.Root(),
		Arch:     step.Stage.Platform.Architecture,
		Args:     step.Run.Args,
		Env:      slices.Concat(step.Run.ProxyEnv, step.Run.Env, given.env),
		Dir:      step.Run.Dir,
		User:     step.Run.User,
		Network:  network,
		Binds:    append(all.binds, given.sockets...),
		Files:    given.files,
		Machine:  s.Machine,
		Hostname: s.Hostname,
		Insecure: step.Run.Insecure,
		Warn:     s.warnOnce,
		StateDir: state,
		Stdout:   stdout,
		Stderr:   stderr,
	})
	stdout.flush()
	stderr.flush()
	if err := errors.Join(w.Unmount(), all.release()); err != nil {
		return "", err
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if s.Dialect.Run.DiscardsVolumes {
		if err := w.discardVolumes(parent.Config.Config.Volumes); err != nil {
			return "", err
		}
	}
	if runErr != nil || code != 0 {
		failure := &StepError{Args: step.Run.Args, ExitCode: code, Cause: runErr}
		failure.State = s.keepFailed(ctx, w, parent, step)
		return "", failure
	}
	return w.commit(ctx)
}

// output passes a stream of a container on to the Reporter. Docker's first builder shows all of it.
func (s *Solver) output(step *dockerfile.Step, stream int) *clipper {
	limit := LogLimit{Size: -1, Speed: -1}
	if s.Dialect.Run.LimitsOutput {
		limit = DefaultLogLimit
		if s.StepLog != nil {
			limit = *s.StepLog
		}
	}
	return newClipper(limit, func(p []byte) { s.Report.Output(step, stream, p) })
}

// keepFailed keeps what a failed step left, so that a person can enter it. It is a courtesy: where it fails
// itself, the step's own error is what counts.
func (s *Solver) keepFailed(ctx context.Context, w *work, parent *State, step *dockerfile.Step) digest.Digest {
	// What filled the disk is not worth keeping it full.
	var fs unix.Statfs_t
	if err := unix.Statfs(w.dir, &fs); err != nil || fs.Bavail < fs.Blocks/100 {
		return ""
	}
	diffID, err := w.commit(ctx)
	if err != nil {
		return ""
	}
	now := time.Now().UTC()
	row := image.History{Created: &now, CreatedBy: step.CreatedBy(""), Comment: "failed"}
	state, err := s.put(parent, s.after(parent, step, row, diffID), store.Failed)
	if err != nil {
		return ""
	}
	return state.ID
}

// work is a state that is mounted so that it can be changed.
type work struct {
	*workspace.Workspace
	store     *store.Store
	dir       string // the workspace's, and what else the step needs
	below     *layer.Stack
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
	root, err := below.Lookup("")
	if err != nil {
		return nil, err
	}
	dir, err := s.Store.Temp("run")
	if err != nil {
		return nil, err
	}
	mounted, err := workspace.Mount(dir, lowers, workspace.OfRoot(root))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &work{mounted, s.Store, dir, below, s.keepEmpty()}, nil
}

// discardVolumes takes back what was changed in the directories of VOLUMEs: with the classic engine a RUN
// works on an anonymous volume there, which goes with its container.
func (w *work) discardVolumes(volumes map[string]struct{}) error {
	upper, err := os.OpenRoot(w.Upper())
	if err != nil {
		return err
	}
	defer upper.Close()
	for name := range volumes {
		dir, e, err := w.below.Resolve(strings.Trim(path.Clean("/"+name), "/"))
		if err != nil || e.Type != layer.Dir || dir == "" {
			continue // the step itself made it
		}
		if err := upper.RemoveAll(dir); err != nil {
			return fmt.Errorf("taking back what the step changed in the volume /%s: %w", dir, err)
		}
	}
	return nil
}

func (w *work) remove() {
	_ = w.Unmount()
	_ = os.RemoveAll(w.dir) // what stays is swept when the store is opened next
}

// keepEmpty tells whether a step that changed nothing has a layer all the same: an empty one in BuildKit's
// images, none in those of the classic builder.
func (s *Solver) keepEmpty() bool { return s.Dialect.Steps.KeepsEmptyLayers }

// commit makes a layer of what changed; "" if nothing did and such a step has none.
func (w *work) commit(ctx context.Context) (digest.Digest, error) {
	made, err := layer.DiffTree(ctx, w.Upper(), w.below)
	if err != nil {
		return "", fmt.Errorf("reading what the step changed: %w", err)
	}
	if len(made.TOC.Entries) == 0 && !w.keepEmpty {
		return "", nil
	}
	if _, err := w.store.AddLayer(made.DiffID, made.TOC, w.Layer()); err != nil {
		return "", err
	}
	return made.DiffID, nil
}

// joinArgs shows an argv as BuildKit does in its errors: separated by spaces.
func joinArgs(args []string) string { return strings.Join(args, " ") }
