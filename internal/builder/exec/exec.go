// Package exec runs the RUN steps of a build. It takes a state, a RUN and what its mounts show
// (Step); it gives the layer of what the command changed, or a Failure that holds what it left.
//
// The state is mounted in a workspace, the mounts are prepared beside it, and package runner runs
// the process. What a mount shows of a context is copied once for all steps (checkout.go), and a
// large copy is kept for the next build (kept.go).
package exec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/identity"
	"github.com/strata-build/strata/internal/layer/observed"
	"github.com/strata-build/strata/internal/sandbox/network"
	"github.com/strata-build/strata/internal/sandbox/plainroot"
	"github.com/strata-build/strata/internal/sandbox/runner"
	"github.com/strata-build/strata/internal/sandbox/secret"
	"github.com/strata-build/strata/internal/sandbox/sshagent"
	"github.com/strata-build/strata/internal/sandbox/tracefs"
	"github.com/strata-build/strata/internal/sandbox/workspace"
	"github.com/strata-build/strata/internal/store"
)

// Config is what the RUNs of a build have in common.
type Config struct {
	Store *store.Store
	// Secrets and SSH are what a RUN may have mounted, and nothing else may know of.
	Secrets *secret.Store
	SSH     *sshagent.Agents
	// Machine is what a RUN finds on its machine.
	Machine runner.Machine
	// Allow is all that a RUN may reach, when not nil.
	Allow *network.Allow
	Log   *LogLimit // nil is DefaultLogLimit
	Rules dialect.Run
	// Caches carries cache mounts between machines; nil leaves them on this one.
	Caches Caches
	// Distrust has what a mount shows of a context copied anew: --no-cache.
	Distrust bool
	// KeepEmpty gives a RUN that changed nothing an empty layer.
	KeepEmpty bool
	// Warn is told of what went wrong without failing the build. It may be called from several goroutines.
	Warn func(line string)
}

// Executor runs the RUNs of a build. It can be used by several goroutines.
type Executor struct {
	Config
	checkouts checkouts
	plain     plain

	prepared sync.Once
	removals sync.WaitGroup // of what steps have left, beside the next ones

	mu     sync.Mutex
	warned []string
	taken  map[string]chan struct{} // by cache mount: closed when the first step has taken it
}

// New returns an executor for one build.
func New(c Config) *Executor { return &Executor{Config: c} }

// Close frees what steps leave for the next ones, and waits until what they left otherwise is removed.
func (e *Executor) Close() {
	e.removals.Wait()
	e.plain.roots.Close()
}

// State is what a RUN starts from, or a mount shows: a chain of layers.
type State interface {
	// Chain is the layers' diffIDs, bottom first.
	Chain() []digest.Digest
	// Stack is the merged view of the layers.
	Stack() (*layer.Stack, error)
}

// Step is a RUN that is to be executed.
type Step struct {
	On      State
	Volumes map[string]struct{} // of the config of the state that it starts from
	Arch    string              // of its platform, as OCI names it
	Run     *dockerfile.Run
	Network runner.Network
	Mounts  []*Mount // but secrets and agents, in the order in which they are mounted
	// Fresh has cache mounts begin anew, as with --no-cache: once in a build, what steps of it put into them stays.
	Fresh bool
	// Observe are the layers of On of which it is noted what is read, by their place in the chain; nil for none.
	Observe []bool
	// Lazy has layers of On that are elsewhere served in parts, as they are read, where that can be.
	Lazy bool
	// Stdout and Stderr get what the process prints, up to the limit.
	Stdout, Stderr io.Writer
}

// Failure is a RUN that ended with an exit code other than zero, or could not be run.
type Failure struct {
	ExitCode int
	Cause    error // why the process could not be run at all, nil where it ran
	// Shortage says that the store's disk is full, which may be why, and what to do about it; "" where it is not.
	Shortage string
	// Kept says that what the process changed until then was kept as Layer, which is "" for an
	// empty one that is not kept.
	Kept  bool
	Layer digest.Digest
	// Network is what the process asked of its network.
	Network network.Report
}

func (f *Failure) Error() string {
	if f.Cause != nil {
		return f.Cause.Error()
	}
	return fmt.Sprintf("exit code: %d", f.ExitCode)
}

func (f *Failure) Unwrap() error { return f.Cause }

// Made is what a RUN gave.
type Made struct {
	// Layer is the diffID of the layer that it made; "" if no file changed and an empty layer is not kept.
	Layer digest.Digest
	// Inputs are what it read of the layers that it was to be observed on; nil if it could not be observed.
	Inputs *observed.Inputs
	// Network is what it asked of its network; nil on the machine's, where nobody knows.
	Network *network.Report
	// Host is the machine that it ran on, "" for this one, and Took how long it ran there.
	Host string
	Took time.Duration
}

// Execute runs a RUN, and returns what it made. A command that fails is a *Failure. The overlay's upper directory is
// where the layer's tree will be: it becomes the layer by a rename.
func (e *Executor) Execute(ctx context.Context, step *Step) (Made, error) {
	if plainroot.Needed() {
		return e.executePlain(ctx, step)
	}
	e.prepared.Do(e.prepare)
	if step.isObserved() || step.Lazy {
		go tracefs.Start() // beside the preparation; where it fails, the step is not observed
	}
	lazy := step.Lazy
	for {
		trees := &trees{store: e.Store, lazy: lazy}
		made, err := e.execute(ctx, step, trees)
		switch {
		case ctx.Err() != nil:
			return made, err
		case errors.Is(err, tracefs.ErrFailed):
			e.Warn(fmt.Sprintf("%v; the step runs again, %s", err, instead(step, lazy)))
			step, lazy = step.unobserved(), false
			continue
		case errors.Is(err, errNotServed):
			step, lazy = step.unobserved(), false // nothing was run
			continue
		}
		if !errors.Is(trees.trusted(ctx), store.ErrUnsealed) {
			return made, err
		}
		// Nothing was run. What is damaged is made again.
		if err := trees.mend(ctx); err != nil {
			return Made{}, err
		}
	}
}

// prepare begins to start what the first container needs, beside what that is mounted on.
func (e *Executor) prepare() {
	if dir, err := e.Store.Temp("starter"); err == nil {
		e.removals.Go(func() {
			runner.Prepare(dir)
			_ = os.Remove(dir) // the starter keeps what it lies on
		})
	}
}

// execute is Execute on trees that may turn out to be damaged.
func (e *Executor) execute(ctx context.Context, step *Step, trees *trees) (made Made, err error) {
	connection := runner.Connect(step.Network, e.Machine, e.Allow)
	w, err := e.mount(ctx, step, trees)
	if err != nil {
		connection.Close()
		return made, err
	}
	defer func() { e.discard(w, connection, err) }()
	defer func() { err = e.Store.Explain(err) }() // before what fills the disk is removed
	if e.Rules.DiscardsVolumes {
		if err := w.makeVolumes(step.Volumes); err != nil {
			return made, err
		}
	}
	code, err := e.run(ctx, w, step, trees, connection)
	if ctx.Err() != nil && err == nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		err = trees.trusted(ctx)
	}
	inputs, failed := w.inputs()
	if failed != nil && ctx.Err() == nil {
		return made, failed // whatever else came of it
	}
	if err != nil {
		return made, err
	}
	if e.Rules.DiscardsVolumes {
		if err := w.discardVolumes(ctx, step.Volumes); err != nil {
			return made, err
		}
	}
	report, known := connection.Report()
	if known {
		made.Network = &report
	}
	if code.ExitCode != 0 || code.Cause != nil {
		code.Network = report
		code.Shortage = e.Store.Shortage()
		e.keep(w.dir, code, func() (digest.Digest, error) { return w.commit(ctx, e.KeepEmpty) })
		return made, code
	}
	made.Inputs = inputs
	made.Layer, err = w.commit(ctx, e.KeepEmpty)
	return made, err
}

// run runs the process, and takes away all that was mounted. How the process ended is in the
// Failure; an error is strata's own.
func (e *Executor) run(ctx context.Context, w *work, step *Step, trees *trees, connection *runner.Connection) (*Failure, error) {
	state := filepath.Join(w.dir, "state")
	if err := workspace.Mkdir(state, 0o700); err != nil {
		return nil, fmt.Errorf("preparing a container: %w", err)
	}
	all, err := e.mountAll(ctx, w, step, trees)
	defer all.release()
	if err != nil {
		return nil, err
	}
	given, err := e.giveSecrets(ctx, state, step.Run)
	defer given.stop()
	if err != nil {
		return nil, err
	}
	stdout, stderr := e.clip(step.Stdout), e.clip(step.Stderr)
	code, runErr := runner.Run(ctx, runner.Spec{
		Rootfs:   w.Root(),
		Arch:     step.Arch,
		Args:     step.Run.Args,
		Env:      slices.Concat(step.Run.ProxyEnv, step.Run.Env, given.env),
		Dir:      step.Run.Dir,
		User:     step.Run.User,
		Binds:    append(all.binds, given.sockets...),
		Files:    given.files,
		Machine:  e.Machine,
		Rights:   runner.Rights{Insecure: step.Run.Insecure},
		Hooks:    runner.Hooks{Gate: trees.trusted, Warn: e.warnOnce, Connection: connection, Owners: w.owners},
		StateDir: state,
		Streams:  runner.Streams{Stdout: stdout, Stderr: stderr},
	})
	stdout.flush()
	stderr.flush()
	return &Failure{ExitCode: code, Cause: runErr}, errors.Join(w.Unmount(), all.release())
}

// clip bounds a stream of a container, where the dialect does.
func (e *Executor) clip(out io.Writer) *clipper {
	limit := LogLimit{Size: -1, Speed: -1}
	if e.Rules.LimitsOutput {
		limit = DefaultLogLimit
		if e.Log != nil {
			limit = *e.Log
		}
	}
	return newClipper(limit, func(p []byte) { _, _ = out.Write(p) })
}

// warnOnce warns of what every step of a build would warn of.
func (e *Executor) warnOnce(line string) {
	e.mu.Lock()
	known := slices.Contains(e.warned, line)
	if !known {
		e.warned = append(e.warned, line)
	}
	e.mu.Unlock()
	if !known {
		e.Warn(line)
	}
}

// keep keeps what a failed step left in a folder, so that a person can enter it. It is a courtesy: where it fails
// itself, the step's own error is what counts.
func (e *Executor) keep(dir string, f *Failure, commit func() (digest.Digest, error)) {
	// What filled the disk is not worth keeping it full.
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Bavail < fs.Blocks/100 || f.Shortage != "" {
		return
	}
	diffID, err := commit()
	f.Layer, f.Kept = diffID, err == nil
}

// work is a state that is mounted so that it can be changed.
type work struct {
	*workspace.Workspace
	store *store.Store
	dir   string // the workspace's, and what else the step needs
	below *layer.Stack
	// lowers are what it is mounted on, the topmost first.
	lowers []store.Lower
	// served is what is observed: the layers, if there are some, then the mounts.
	served []*served
	made   []string // directories of volumes that were not there, relative to the root
	// owners are those of what the step makes, where they are noted and it can have no note.
	owners *identity.Ledger
}

// mount mounts the state that a step starts from. Layers that are to be observed are served; an errNotServed says that
// they cannot be.
func (e *Executor) mount(ctx context.Context, step *Step, trees *trees) (*work, error) {
	below, err := step.On.Stack()
	if err != nil {
		return nil, err
	}
	dir, err := e.Store.Temp("run")
	if err != nil {
		return nil, err
	}
	w := &work{store: e.Store, dir: dir, below: below}
	if err := w.mount(ctx, step, trees); err != nil {
		w.remove()
		return nil, err
	}
	return w, nil
}

func (w *work) mount(ctx context.Context, step *Step, trees *trees) error {
	lazy := trees.inParts(ctx, step)
	serve := servedOf(step, lazy)
	lowers, root, err := trees.of(ctx, step.On, serve)
	if err != nil {
		return err
	}
	_, on := split(step.On.Chain(), serve)
	layers, err := w.serve(ctx, on, lazy)
	if err != nil {
		return err
	}
	defer layers.detach()
	w.lowers = layers.among(lowers)
	w.Workspace, err = workspace.Mount(w.dir, w.lowers, root)
	if err != nil && layers != nil {
		return fmt.Errorf("%w: %w", errNotServed, err)
	}
	if err == nil {
		w.owners, err = workspace.Owners(ctx, w.Root(), w.below, serve)
	}
	return err
}

// discard takes away what a step has left. The next one need not wait for the removal of files and of the network;
// one that failed gives the disk its room back first.
func (e *Executor) discard(w *work, connection *runner.Connection, err error) {
	w.release()
	remove := func() {
		connection.Close()
		w.remove()
	}
	if err != nil {
		remove()
		return
	}
	e.removals.Go(remove)
}

// release unmounts what a step was mounted on and shown.
func (w *work) release() {
	if w.Workspace != nil {
		_ = w.Unmount()
	}
	for _, s := range w.served {
		_ = s.mount.Close()
	}
}

func (w *work) remove() {
	w.release()
	_ = os.RemoveAll(w.dir) // what stays is swept when the store is opened next
}

// commit makes a layer of what changed; "" if nothing did and keepEmpty is not set.
func (w *work) commit(ctx context.Context, keepEmpty bool) (digest.Digest, error) {
	below := layer.Mounted{Stack: w.below, Dirs: store.Dirs(w.lowers)}
	made, err := layer.DiffTree(ctx, w.Upper(), below, layer.DiffOptions{KeepFiles: len(w.served) > 0, Owners: w.owners})
	if err != nil {
		return "", fmt.Errorf("reading what the step changed: %w", err)
	}
	if made.Encoded.Len() == 0 && !keepEmpty {
		return "", nil
	}
	if _, err := w.store.AddLayer(made.DiffID, made.Encoded, w.Layer()); err != nil {
		return "", err
	}
	return made.DiffID, nil
}
