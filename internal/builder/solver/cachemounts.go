package solver

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store"
)

// owned says that the directory of a cache gets a mode or owner of its own. Then it begins empty, whatever from= says
// (BuildKit, convert_runmount.go).
func (m *mount) owned() bool {
	return m.Source == "/" && (m.Mode != nil || m.UID != nil || m.GID != nil)
}

// base stands for what a cache begins with. As in BuildKit, a cache that begins otherwise is another one, even if it has
// the same id.
func (m *mount) base() string {
	var words []string
	if m.sel != nil {
		words = append(words, string(m.sel.sum))
	}
	if m.owned() {
		mode, uid, gid := m.owner()
		words = append(words, fmt.Sprintf("%o %d:%d", mode, uid, gid))
	}
	return strings.Join(words, " ")
}

// owner is mode and owner of a cache's directory.
func (m *mount) owner() (mode uint32, uid, gid int) {
	mode = 0o755
	if m.Mode != nil {
		mode = uint32(*m.Mode) & 0o7777
	}
	if m.UID != nil {
		uid = int(*m.UID)
	}
	if m.GID != nil {
		gid = int(*m.GID)
	}
	return mode, uid, gid
}

// cacheName tells apart the caches of one RUN. Mounted twice, one is still one.
func (m *mount) cacheName() string { return m.ID + "\x00" + m.base() }

// takeCaches takes the caches that the mounts of a RUN show, always in the same order, so that no two RUNs wait for each
// other.
func (s *Solver) takeCaches(ctx context.Context, all *mounted, mounts []*mount, step *dockerfile.Step) error {
	byName := map[string]*mount{}
	for _, m := range mounts {
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
			ID: m.ID, Base: m.base(), Sharing: store.Sharing(m.Sharing),
			Fill: func(dir string) error { return s.fillCache(ctx, m, dir) },
			Waits: func() {
				line := fmt.Sprintf("waiting for the cache mount %s, which another step has locked\n", strings.TrimPrefix(m.ID, "/"))
				s.Report.Output(step, 2, []byte(line))
			},
		}
		cache, err := s.Store.CacheMount(ctx, o)
		if err != nil {
			return err
		}
		all.caches[name] = cache
	}
	return nil
}

func strictness(mode dockerfile.ShareMode) int {
	return slices.Index([]dockerfile.ShareMode{dockerfile.ShareAll, dockerfile.SharePrivate, dockerfile.ShareLocked}, mode)
}

// fillCache makes what a cache begins with.
func (s *Solver) fillCache(ctx context.Context, m *mount, dir string) error {
	if m.owned() {
		mode, uid, gid := m.owner()
		if err := os.Chown(dir, uid, gid); err != nil {
			return err
		}
		return unix.Chmod(dir, mode)
	}
	if m.sel == nil {
		return nil
	}
	if err := m.sel.read(ctx); err != nil {
		return err
	}
	if !m.sel.Matches[0].Dir {
		return fmt.Errorf("source=%s is a file: a cache begins with a directory", m.Source)
	}
	t, from, err := layout(m.sel)
	if err != nil {
		return err
	}
	return layer.Lay(ctx, t, from, filepath.Clean(dir))
}
