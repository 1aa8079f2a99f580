package exec

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
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/identity"
	"github.com/strata-build/strata/internal/sandbox/plainroot"
	"github.com/strata-build/strata/internal/sandbox/runner"
	"github.com/strata-build/strata/internal/sandbox/workspace"
	"github.com/strata-build/strata/internal/store"
)

// Where nothing can be mounted, steps run one after the other, each in a root of plain files (package plainroot).

// plain is what such steps of a build share.
type plain struct {
	sync.Mutex // held while a step runs
	roots      plainroot.Roots
}

const plainNote = "nothing can be mounted here: steps run one after the other, each in a folder that is its root, beside this container's own processes and on its network (docs/rootless.md)"

// plainStep is a step in its root.
type plainStep struct {
	*Step
	root    *plainroot.Root
	state   string // a folder for what is put into the root
	all     *mounted
	secrets []string // paths of this machine
}

// executePlain is Execute in a root of plain files.
func (e *Executor) executePlain(ctx context.Context, step *Step) (made Made, err error) {
	e.warnOnce(plainNote)
	if step.Network == runner.NetworkNone {
		return made, errors.New("running without a network takes a name space, which cannot be made here; leave --network=none out, or see strata info")
	}
	if e.Allow != nil {
		return made, errors.New("limiting what a step reaches takes a name space, which cannot be made here; leave --network-allow out, or see strata info")
	}
	e.plain.Lock()
	defer e.plain.Unlock()
	if ctx.Err() != nil {
		return made, context.Cause(ctx)
	}
	below, err := step.On.Stack()
	if err != nil {
		return made, err
	}
	root, err := e.plain.roots.Take(ctx, e.Store, step.On.Chain())
	if err != nil {
		return made, err
	}
	defer e.plain.roots.Give(root)
	state, err := e.Store.Temp("state")
	if err != nil {
		return made, err
	}
	defer os.RemoveAll(state)
	defer func() { err = e.Store.Explain(err) }() // before what fills the disk is removed
	p := &plainStep{Step: lockedCaches(step), root: root, state: state, all: &mounted{}}
	code, err := e.runPlain(ctx, p)
	if ctx.Err() != nil && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return made, err
	}
	commit := func() (digest.Digest, error) { return e.commitPlain(ctx, p, below) }
	if code.ExitCode != 0 || code.Cause != nil {
		code.Shortage = e.Store.Shortage()
		e.keep(root.Folder(), code, commit)
		return made, code
	}
	if made.Layer, err = commit(); err != nil {
		return made, err
	}
	chain := slices.Clone(step.On.Chain())
	if made.Layer != "" {
		chain = append(chain, made.Layer)
	}
	if !e.Rules.DiscardsVolumes || len(step.Volumes) == 0 {
		root.Now(chain)
	}
	return made, nil
}

// lockedCaches is the step with its caches locked: they are moved to where the step sees them.
func lockedCaches(step *Step) *Step {
	copied := *step
	copied.Mounts = nil
	for _, m := range step.Mounts {
		one := *m
		one.Sharing = dockerfile.ShareLocked
		copied.Mounts = append(copied.Mounts, &one)
	}
	return &copied
}

// runPlain runs the process, and takes out of the root what was put in for it.
func (e *Executor) runPlain(ctx context.Context, p *plainStep) (_ *Failure, err error) {
	defer func() { err = errors.Join(err, p.root.Clear(), p.all.release()) }()
	given, err := e.giveSecrets(ctx, p.state, p.Run)
	defer given.stop()
	if err != nil {
		return nil, err
	}
	stdout, stderr := e.clip(p.Stdout), e.clip(p.Stderr)
	spec := runner.Spec{
		Rootfs:   p.root.Dir(),
		Args:     p.Run.Args,
		Env:      slices.Concat(p.Run.ProxyEnv, p.Run.Env, given.env),
		Dir:      p.Run.Dir,
		User:     p.Run.User,
		Machine:  e.Machine,
		Rights:   runner.Rights{Insecure: p.Run.Insecure},
		Hooks:    runner.Hooks{Warn: e.warnOnce},
		StateDir: p.state,
		Streams:  runner.Streams{Stdout: stdout, Stderr: stderr},
	}
	if err := e.furnish(ctx, p, spec, given); err != nil {
		return nil, err
	}
	code, runErr := runner.RunPlain(ctx, spec, p.secrets)
	stdout.flush()
	stderr.flush()
	return &Failure{ExitCode: code, Cause: runErr}, nil
}

// furnish puts into the root what is mounted elsewhere.
func (e *Executor) furnish(ctx context.Context, p *plainStep, spec runner.Spec, given *given) error {
	if e.Rules.DiscardsVolumes {
		for name := range p.Volumes {
			if err := p.root.MakeDir(name); err != nil {
				return fmt.Errorf("making the volume %s: %w", name, err)
			}
		}
	}
	if err := p.root.Furnish(spec); err != nil {
		return err
	}
	if err := e.placeMounts(ctx, p); err != nil {
		return err
	}
	for _, f := range given.files {
		if err := p.root.Place(f.Target, plainroot.File(f.Data, f.Mode, identity.Owner{UID: f.UID, GID: f.GID})); err != nil {
			return fmt.Errorf("the secret at %s: %w", f.Target, err)
		}
		p.secrets = append(p.secrets, p.root.Last())
	}
	for _, s := range given.sockets {
		if err := p.root.Place(s.Target, plainroot.Linked(s.Source)); err != nil {
			return fmt.Errorf("the ssh agent at %s: %w", s.Target, err)
		}
	}
	return nil
}

// placeMounts puts what the mounts of a RUN show into the root.
func (e *Executor) placeMounts(ctx context.Context, p *plainStep) error {
	taken, err := e.plainCaches(ctx, p)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for i, m := range p.Mounts {
		if m.Content != nil {
			if err := m.Remember(ctx, e.Store); err != nil && ctx.Err() == nil {
				e.Warn(err.Error())
			}
		}
		thing, err := plainroot.Folder(0o777|os.ModeSticky), error(nil)
		switch {
		case m.Type == dockerfile.MountTmpfs:
		case m.Type == dockerfile.MountCache:
			if name := m.cacheName(); seen[name] {
				err = fmt.Errorf("the cache %s is mounted twice, which takes a mount: none can be made here", strings.TrimPrefix(m.ID, "/"))
			} else {
				seen[name], thing = true, plainroot.Lent(taken[name])
			}
		default:
			thing, err = e.content(ctx, m, filepath.Join(p.state, "mount-"+strconv.Itoa(i)))
		}
		if err == nil {
			err = p.root.Place(m.Target, thing)
		}
		if err != nil {
			return fmt.Errorf("mounting on %s: %w", m.Target, err)
		}
	}
	if script := p.Run.Script; script != nil {
		bind, err := writeScript(filepath.Join(p.state, "script"), script)
		if err == nil {
			err = p.root.Place(bind.Target, plainroot.Moved(bind.Source))
		}
		if err != nil {
			return fmt.Errorf("preparing the here-document: %w", err)
		}
	}
	return nil
}

// plainCaches takes the caches of a RUN, and gives their directories by their names.
func (e *Executor) plainCaches(ctx context.Context, p *plainStep) (map[string]string, error) {
	p.all.caches = map[string]*store.CacheMount{}
	if err := e.takeCaches(ctx, p.all, p.Step); err != nil {
		return nil, err
	}
	dirs := map[string]string{}
	for name, c := range p.all.caches {
		dirs[name] = c.Dir
	}
	return dirs, nil
}

// content copies what a bind mount shows to a new folder, from which it is moved into the root.
func (e *Executor) content(ctx context.Context, m *Mount, dir string) (plainroot.Thing, error) {
	if m.Content == nil {
		return plainroot.Folder(0o755), nil
	}
	files, err := m.Content.Files(ctx)
	if err != nil {
		return plainroot.Thing{}, err
	}
	t, from, err := files.list(ctx)
	if err != nil {
		return plainroot.Thing{}, err
	}
	if err := workspace.Mkdir(dir, 0o755); err != nil {
		return plainroot.Thing{}, err
	}
	if err := layer.Materialise(ctx, t, from, dir); err != nil {
		return plainroot.Thing{}, err
	}
	if !files.Match.Dir {
		dir = filepath.Join(dir, mountedFile)
	}
	return plainroot.Moved(dir), nil
}

// commitPlain makes a layer of what was changed in the root; "" if nothing was and an empty layer is not kept.
func (e *Executor) commitPlain(ctx context.Context, p *plainStep, below *layer.Stack) (digest.Digest, error) {
	t, err := p.root.Changes(ctx, below)
	if err != nil {
		return "", fmt.Errorf("reading what the step changed: %w", err)
	}
	if e.Rules.DiscardsVolumes {
		t = withoutVolumes(t, below, p.Volumes)
	}
	if len(t.Entries) == 0 && !e.KeepEmpty {
		return "", nil
	}
	dir, err := e.Store.Temp("layer")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	f, err := os.OpenFile(filepath.Join(dir, "tar"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", fmt.Errorf("writing a layer: %w", err)
	}
	made, err := layer.WriteTarFile(ctx, f, t, layer.TreeSource(p.root.Dir(), t).Open)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("writing a layer: %w", err)
	}
	if _, err := e.Store.AddLayer(made.DiffID, made.TOC, dir); err != nil {
		return "", err
	}
	return made.DiffID, nil
}

// withoutVolumes leaves out what lies in a volume. A volume's directory that was missing stays, empty.
func withoutVolumes(t *layer.TOC, below *layer.Stack, volumes map[string]struct{}) *layer.TOC {
	kept := &layer.TOC{}
	for _, e := range t.Entries {
		inside := false
		for name := range volumes {
			dir := strings.Trim(path.Clean("/"+name), "/")
			there, err := below.Lookup(context.Background(), dir)
			known := err == nil && there.Type == layer.Dir
			inside = inside || strings.HasPrefix(e.Path, dir+"/") || known && e.Path == dir
		}
		if !inside {
			kept.Entries = append(kept.Entries, e)
		}
	}
	return kept
}
