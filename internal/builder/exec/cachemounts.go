package exec

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/cache/packed"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/identity"
	"github.com/strata-build/strata/internal/store"
)

// owned says that the directory of a cache gets a mode or owner of its own. Then it begins empty, whatever from= says
// (BuildKit, convert_runmount.go).
func (m *Mount) owned() bool {
	return m.Source == "/" && (m.Mode != nil || m.UID != nil || m.GID != nil)
}

// base stands for what a cache begins with. As in BuildKit, a cache that begins otherwise is
// another one, even if it has the same id.
func (m *Mount) base() string {
	var words []string
	if m.Content != nil {
		words = append(words, string(m.Content.Sum()))
	}
	if m.owned() {
		mode, uid, gid := m.owner()
		words = append(words, fmt.Sprintf("%o %d:%d", mode, uid, gid))
	}
	return strings.Join(words, " ")
}

// owner is mode and owner of a cache's directory.
func (m *Mount) owner() (mode uint32, uid, gid int) {
	uid, gid = m.Owner()
	return uint32(m.ModeOr(0o755)) & 0o7777, uid, gid
}

// cacheName tells apart the caches of one RUN. Mounted twice, one is still one.
func (m *Mount) cacheName() string { return m.ID + "\x00" + m.base() }

// Caches carries cache mounts between machines. Its methods may be called from several goroutines.
type Caches interface {
	// Seen is told of the cache mounts of a step that a build comes to, whether or not the step runs.
	Seen(name packed.Name)
	// Restore puts into the empty directory dir what another machine left in its cache of that name. It is false, with
	// the directory as it was, where there is nothing.
	Restore(ctx context.Context, name packed.Name, dir string) bool
}

// Name is what a cache mount of a step of an architecture is known by on all machines.
func (m *Mount) Name(arch string) packed.Name {
	return packed.Name{ID: m.ID, Base: m.base(), Arch: arch}
}

// takeCaches takes the caches that the mounts of a RUN show, always in the same order, so that no
// two RUNs wait for each other.
func (e *Executor) takeCaches(ctx context.Context, all *mounted, step *Step) error {
	byName := map[string]*Mount{}
	for _, m := range step.Mounts {
		if m.Type != dockerfile.MountCache {
			continue
		}
		// The strictest of several ways to share counts.
		if other := byName[m.cacheName()]; other == nil || strictness(m.Sharing) > strictness(other.Sharing) {
			byName[m.cacheName()] = m
		}
	}
	names := make([]string, 0, len(byName))
	for name := range byName {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		m := byName[name]
		o := store.CacheMountOptions{
			ID: m.ID, Base: m.base(), Sharing: store.Sharing(m.Sharing), Fresh: step.Fresh,
			Fill: func(dir string) error { return fillCache(ctx, m, dir) },
			Waits: func() {
				fmt.Fprintf(step.Stderr, "waiting for the cache mount %s, which another step has locked\n", strings.TrimPrefix(m.ID, "/"))
			},
		}
		if e.Caches != nil {
			o.Restore = func(dir string) bool { return e.Caches.Restore(ctx, m.Name(step.Arch), dir) }
		}
		cache, err := e.takeCache(ctx, o)
		if err != nil {
			return err
		}
		all.caches[name] = cache
	}
	return nil
}

// takeCache takes a cache mount. The first of several steps that begin at once with one that is not here brings it,
// and the others wait for that.
func (e *Executor) takeCache(ctx context.Context, o store.CacheMountOptions) (*store.CacheMount, error) {
	if o.Restore == nil {
		return e.Store.CacheMount(ctx, o)
	}
	e.mu.Lock()
	if e.taken == nil {
		e.taken = map[string]chan struct{}{}
	}
	name := o.ID + "\x00" + o.Base
	first := e.taken[name]
	if first == nil {
		first = make(chan struct{})
		e.taken[name] = first
		e.mu.Unlock()
		defer close(first)
		return e.Store.CacheMount(ctx, o)
	}
	e.mu.Unlock()
	select {
	case <-first: // for as long as the first takes it, not uses it
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	return e.Store.CacheMount(ctx, o)
}

func strictness(mode dockerfile.ShareMode) int {
	return slices.Index([]dockerfile.ShareMode{dockerfile.ShareAll, dockerfile.SharePrivate, dockerfile.ShareLocked}, mode)
}

// fillCache makes what a cache begins with.
func fillCache(ctx context.Context, m *Mount, dir string) error {
	if m.owned() {
		mode, uid, gid := m.owner()
		if err := identity.Current().OwnPath(dir, identity.Owner{UID: uid, GID: gid}); err != nil {
			return err
		}
		return unix.Chmod(dir, mode)
	}
	if m.Content == nil {
		return nil
	}
	files, err := m.Content.Files(ctx)
	if err != nil {
		return err
	}
	if !files.Match.Dir {
		return fmt.Errorf("source=%s is a file: a cache begins with a directory", m.Source)
	}
	t, from, err := files.list(ctx)
	if err != nil {
		return err
	}
	return layer.Materialise(ctx, t, from, filepath.Clean(dir))
}
