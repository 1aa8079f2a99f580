package solver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/copier"
	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/source/buildcontext"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/sandbox/runner"
	"github.com/strata-build/strata/internal/sandbox/workspace"
	"github.com/strata-build/strata/internal/store"
)

// mount is a mount of a RUN with what it shows.
type mount struct {
	dockerfile.Mount
	// from is the state that it comes from, nil for a context and for what begins empty.
	from *State
	// sel is what source= selects there, or in a context; nil for what begins empty.
	sel *selection
}

// findMounts finds what the mounts of a RUN show, in the order in which they are mounted: by target, so that one can lie
// in another (BuildKit, client/llb/exec.go).
func (s *Solver) findMounts(ctx context.Context, step *dockerfile.Step, files layer.Tree) ([]*mount, error) {
	var mounts []*mount
	for _, said := range step.Run.Mounts {
		if said.Type == dockerfile.MountSecret || said.Type == dockerfile.MountSSH {
			continue // see secrets.go
		}
		m := &mount{Mount: said}
		mounts = append(mounts, m)
		seen := files
		var err error
		switch {
		case said.Type == dockerfile.MountTmpfs:
			continue
		case said.From.Stage != nil:
			m.from, err = s.stage(ctx, said.From.Stage)
		case said.From.Image != "":
			m.from, err = s.image(ctx, said.From.Image, step.Stage.TargetPlatform())
			err = step.Stage.MountHint(said.From.Image, err)
		case said.From.Named != "":
			var named *Files
			if named, err = s.Named(ctx, said.From.Named); err == nil {
				seen = named.Tree
			}
		case said.From.Scratch:
			m.from = Scratch(s.Store, step.Stage.TargetPlatform())
		}
		if err != nil {
			return nil, err
		}
		if m.from != nil || m.From.Named != "" || m.FromContext() {
			if err := s.selectMount(ctx, m, step, seen); err != nil {
				return nil, err
			}
		}
	}
	slices.SortStableFunc(mounts, func(a, b *mount) int { return cmp.Compare(a.Target, b.Target) })
	return mounts, nil
}

// selectMount finds what source= of a mount selects.
func (s *Solver) selectMount(ctx context.Context, m *mount, step *dockerfile.Step, files layer.Tree) error {
	m.sel = &selection{Selection: copier.Selection{Tree: files, Context: m.from == nil}}
	read := func(ctx context.Context) error {
		options := buildcontext.SelectOptions{Instruction: "RUN --mount", Literal: true}
		matches, err := buildcontext.Select(ctx, m.sel.Tree, m.Source, options)
		if err != nil {
			return err
		}
		m.sel.Matches = matches
		if m.sel.sum, err = buildcontext.Sum(ctx, m.sel.Tree, matches[0].Items); err != nil {
			return err
		}
		// Unlike a COPY, a mount shows the directory itself too.
		e := matches[0].Entry
		m.sel.sum = digest.FromString(fmt.Sprintf("%s %s %o %d:%d", m.sel.sum, m.sel.shape(), e.Mode, e.UID, e.GID))
		m.sel.name = m.sel.classicName()
		return nil
	}
	if m.from == nil {
		return read(ctx)
	}
	key := &cache.Key{Kind: cache.KindSelection}
	key.Add(cache.PartMountSource, m.Source)
	key.Add(cache.PartChain, cache.ChainPart(m.from.Chain()))
	m.sel.Tree = nil
	return s.selectOnce(ctx, m.from, step, m.sel, key, read)
}

// addMounts makes the mounts of a RUN a part of its key, as far as BuildKit counts them (solver/llbsolver/ops/exec.go):
// what a bind mount shows and what a cache begins with counts by content, the id of a cache and how it is shared not at
// all, nor what is in it.
func addMounts(key *cache.Key, mounts []*mount) {
	for _, m := range mounts {
		access := "rw"
		if m.ReadOnly {
			access = "ro"
		}
		words := []string{string(m.Type), m.Target, access}
		if m.Size > 0 {
			words = append(words, "size="+strconv.FormatInt(m.Size, 10))
		}
		for _, n := range []struct {
			name  string
			value *uint64
			base  int
		}{{"mode", m.Mode, 8}, {"uid", m.UID, 10}, {"gid", m.GID, 10}} {
			if n.value != nil {
				words = append(words, n.name+"="+strconv.FormatUint(*n.value, n.base))
			}
		}
		key.Add(cache.PartMount, strings.Join(words, " "))
		if m.sel != nil {
			key.Add(cache.PartMounted, string(m.sel.sum)+" "+m.Target)
		}
	}
}

// list lists what a mount shows, reading layers of a state if need be.
func (m *mount) list(ctx context.Context) (*layer.TOC, error) {
	if m.sel.read != nil {
		if err := m.sel.read(ctx); err != nil {
			return nil, err
		}
	}
	t, _, err := layout(m.sel)
	return t, err
}

// mounted is what the mounts of a RUN need while it runs.
type mounted struct {
	binds  []runner.Bind
	shown  []*workspace.Workspace // what is mounted below the step's folder
	caches map[string]*store.CacheMount
}

// mountAll prepares the mounts of a RUN below dir. What it returns is to be released, after an error too.
func (s *Solver) mountAll(ctx context.Context, dir string, mounts []*mount, step *dockerfile.Step) (*mounted, error) {
	all := &mounted{caches: map[string]*store.CacheMount{}}
	if err := s.takeCaches(ctx, all, mounts, step); err != nil {
		return all, err
	}
	for i, m := range mounts {
		if m.sel != nil {
			s.remember(ctx, m)
		}
		bind := runner.Bind{Target: m.Target, ReadOnly: m.ReadOnly}
		var err error
		switch {
		case m.Type == dockerfile.MountTmpfs:
			bind.Tmpfs, bind.Size = true, m.Size
		case m.Type == dockerfile.MountCache:
			bind.Source = all.caches[m.cacheName()].Dir
		default:
			bind.Source, err = s.mountSource(ctx, all, m, filepath.Join(dir, "mount-"+strconv.Itoa(i)))
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

// remember keeps the names of what a mount shows, for who asks later what changed.
func (s *Solver) remember(ctx context.Context, m *mount) {
	t, err := m.list(ctx)
	if err == nil {
		err = s.Store.PutListing(m.sel.sum, t)
	}
	if err != nil && ctx.Err() == nil && s.Warn != nil {
		s.Warn(err.Error())
	}
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
func (s *Solver) mountSource(ctx context.Context, all *mounted, m *mount, dir string) (string, error) {
	if err := workspace.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	var shown *workspace.Workspace
	var err error
	if m.from == nil {
		shown, err = s.mountFiles(ctx, m.sel, dir)
	} else {
		shown, err = s.mountState(ctx, m.from, dir)
	}
	if err != nil {
		return "", err
	}
	all.shown = append(all.shown, shown)
	switch {
	case m.from != nil:
		return within(shown.Root(), m.Source)
	case !m.sel.Matches[0].Dir:
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
func (s *Solver) mountState(ctx context.Context, from *State, dir string) (*workspace.Workspace, error) {
	lowers, err := s.Store.Trees(ctx, from.Chain())
	if err != nil {
		return nil, err
	}
	below, err := from.stack(ctx)
	if err != nil {
		return nil, err
	}
	root, err := below.Lookup("")
	if err != nil {
		return nil, err
	}
	return workspace.Mount(dir, lowers, workspace.OfRoot(root))
}
