package exec

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/selection"
	"github.com/strata-build/strata/internal/sandbox/runner"
	"github.com/strata-build/strata/internal/sandbox/workspace"
	"github.com/strata-build/strata/internal/store"
)

// Mount is a mount of a RUN with what it shows.
type Mount struct {
	dockerfile.Mount
	// From is the state that it comes from, nil for a context and for what begins empty.
	From State
	// Content is what source= selects there, or in a context; nil for what begins empty.
	Content Content
	// Observe has it noted what the process reads of a directory of a context that is mounted.
	Observe bool
}

// Content is what a mount shows, or a cache mount begins with.
type Content interface {
	// Sum is the digest by which it counts in a step's key.
	Sum() digest.Digest
	// Files gives the files, reading layers of a state if need be.
	Files(ctx context.Context) (*Files, error)
}

// Files are what a mount selects in a tree.
type Files struct {
	Tree    layer.Tree
	Match   selection.Match
	Context bool // Tree is a context, whose extended attributes are the host's affair
}

// List lists the files that a mount with content shows, reading layers of a state if need be.
func (m *Mount) List(ctx context.Context) (*layer.TOC, error) {
	files, err := m.Content.Files(ctx)
	if err != nil {
		return nil, err
	}
	t, _, err := files.list(ctx)
	return t, err
}

// mounted is what the mounts of a RUN need while it runs.
type mounted struct {
	work   *work
	binds  []runner.Bind
	shown  []*workspace.Workspace // what is mounted below the step's folder
	caches map[string]*store.CacheMount
	trees  *trees
}

// mountAll prepares the mounts of a RUN in its folder. What it returns is to be released, after an error too.
func (e *Executor) mountAll(ctx context.Context, w *work, step *Step, trees *trees) (*mounted, error) {
	dir := w.dir
	all := &mounted{work: w, trees: trees, caches: map[string]*store.CacheMount{}}
	if err := e.takeCaches(ctx, all, step); err != nil {
		return all, err
	}
	for i, m := range step.Mounts {
		if m.Content != nil {
			if err := m.Remember(ctx, e.Store); err != nil && ctx.Err() == nil {
				e.Warn(err.Error())
			}
		}
		bind := runner.Bind{Target: m.Target, ReadOnly: m.ReadOnly}
		var err error
		switch {
		case m.Type == dockerfile.MountTmpfs:
			bind.Tmpfs, bind.Size = true, m.Size
		case m.Type == dockerfile.MountCache:
			bind.Source = all.caches[m.cacheName()].Dir
		default:
			bind.Source, err = e.mountSource(ctx, all, m, filepath.Join(dir, "mount-"+strconv.Itoa(i)))
		}
		if err != nil {
			return all, fmt.Errorf("mounting on %s: %w", m.Target, err)
		}
		all.binds = append(all.binds, bind)
	}
	if script := step.Run.Script; script != nil {
		bind, err := writeScript(filepath.Join(dir, "script"), script)
		if err != nil {
			return all, fmt.Errorf("preparing the here-document: %w", err)
		}
		all.binds = append(all.binds, bind)
	}
	return all, nil
}

// Remember keeps the names of what a mount with content shows, for who asks later what changed.
func (m *Mount) Remember(ctx context.Context, s *store.Store) error {
	t, err := m.List(ctx)
	if err != nil {
		return err
	}
	return s.PutListing(m.Content.Sum(), t)
}

// release takes the mounts away, so that the step's folder can be removed, and lets others have the caches.
func (all *mounted) release() error {
	var errs []error
	for _, w := range all.shown {
		errs = append(errs, w.Unmount())
	}
	for _, c := range all.caches {
		errs = append(errs, c.Release())
	}
	all.shown, all.caches = nil, nil
	return errors.Join(errs...)
}

// writeScript makes the file of a here-document that is run by an interpreter of its own.
func writeScript(dir string, script *dockerfile.Script) (runner.Bind, error) {
	bind := runner.Bind{Source: dir, Target: dockerfile.ScriptDir, ReadOnly: true}
	file := filepath.Join(dir, script.Name)
	if err := workspace.Mkdir(dir, 0o755); err != nil {
		return bind, err
	}
	if err := os.WriteFile(file, []byte(script.Text), 0o755); err != nil {
		return bind, err
	}
	return bind, os.Chmod(file, 0o755) // whatever the umask
}

// mountSource makes a file or directory of the host of what a bind mount shows, below the new folder dir. What the
// container writes to it is thrown away: nothing in it is anybody else's.
func (e *Executor) mountSource(ctx context.Context, all *mounted, m *Mount, dir string) (string, error) {
	if err := workspace.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	if m.From != nil {
		shown, err := all.mountState(ctx, m.From, dir)
		if err != nil {
			return "", err
		}
		all.shown = append(all.shown, shown)
		return within(shown.Root(), m.Source)
	}
	files, err := m.Content.Files(ctx)
	if err != nil {
		return "", err
	}
	shown, err := e.mountFiles(ctx, all.work, m, files, dir)
	if err != nil {
		return "", err
	}
	all.shown = append(all.shown, shown)
	if !files.Match.Dir {
		return filepath.Join(shown.Root(), mountedFile), nil
	}
	return shown.Root(), nil
}

// within is a path in a mounted root, whose symbolic links lead nowhere else.
func within(root, name string) (string, error) {
	found, err := securejoin.SecureJoin(root, name)
	if err != nil {
		return "", err
	}
	if _, err := os.Lstat(found); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s: no such file or directory", name)
	} else if err != nil {
		return "", err
	}
	return found, nil
}

// mountState mounts a state with a layer on top that is thrown away: a container never gets at a layer of the
// store itself, not even one that may mount.
func (all *mounted) mountState(ctx context.Context, from State, dir string) (*workspace.Workspace, error) {
	lowers, root, err := all.trees.of(ctx, from, nil)
	if err != nil {
		return nil, err
	}
	return workspace.Mount(dir, lowers, root)
}
