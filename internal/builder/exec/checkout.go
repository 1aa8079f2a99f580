package exec

import (
	"context"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/selection"
	"github.com/strata-build/strata/internal/sandbox/workspace"
)

// What a mount shows of a context is copied, once for all steps of a build that mount the same: with the owners that a
// COPY would give, without what .dockerignore excludes, and as the step's key counts it, whatever an editor does to the
// files while the step runs. Steps see the copy below a layer of their own that is thrown away.
//
// The store keeps a large copy (kept.go), so that the next build copies what changed only.

// checkouts are the copies that the steps of a build share.
type checkouts struct {
	mu  sync.Mutex
	all map[checkoutKey]*checkout
}

// checkoutKey is what a copy was made of: files as their contents count, in one look at a context.
type checkoutKey struct {
	tree layer.Tree
	sum  digest.Digest
}

// checkout is a copy that somebody may be making.
type checkout struct {
	once  sync.Once
	trees []string // the topmost first
	err   error
}

// get is the copy of files with a sum; whoever asks first makes it. A copy that failed is made again for who asks next.
func (c *checkouts) get(files *Files, sum digest.Digest, make func() ([]string, error)) ([]string, error) {
	key := checkoutKey{files.Tree, sum}
	c.mu.Lock()
	if c.all == nil {
		c.all = map[checkoutKey]*checkout{}
	}
	one := c.all[key]
	if one == nil {
		one = &checkout{}
		c.all[key] = one
	}
	c.mu.Unlock()
	one.once.Do(func() { one.trees, one.err = make() })
	if one.err != nil {
		c.mu.Lock()
		if c.all[key] == one {
			delete(c.all, key)
		}
		c.mu.Unlock()
	}
	return one.trees, one.err
}

// checkout gives the directories that, one over the other, are the copy of what a mount selects.
func (e *Executor) checkout(ctx context.Context, files *Files) ([]string, error) {
	t, from, err := files.list(ctx)
	if err != nil {
		return nil, err
	}
	if name := keptName(files, t); name != "" {
		return e.checkoutKept(ctx, name, t, from)
	}
	dir, err := e.materialise(ctx, t, from)
	return []string{filepath.Join(dir, "fs")}, err
}

// materialise writes files as "fs" in a folder of its own, which goes with the build.
func (e *Executor) materialise(ctx context.Context, t *layer.TOC, from layer.FileSource) (string, error) {
	dir, err := e.Store.Temp("mount")
	if err != nil {
		return "", err
	}
	tree := filepath.Join(dir, "fs")
	if err := workspace.Mkdir(tree, 0o755); err != nil {
		return "", err
	}
	return dir, layer.Materialise(ctx, t, from, tree)
}

// mountFiles mounts what a mount selects of a context; a single file is there as mountedFile.
func (e *Executor) mountFiles(ctx context.Context, w *work, m *Mount, files *Files, dir string) (*workspace.Workspace, error) {
	trees, err := e.checkouts.get(files, m.Content.Sum(), func() ([]string, error) { return e.checkout(ctx, files) })
	if err != nil {
		return nil, err
	}
	root, err := workspace.OfDir(trees[0])
	if err != nil {
		return nil, err
	}
	if !m.Observe {
		return workspace.Mount(dir, workspace.Directories(trees...), root)
	}
	t, _, err := files.list(ctx)
	if err != nil {
		return nil, err
	}
	served, err := w.serveMount(m, t, trees, dir)
	if err != nil {
		return nil, err
	}
	defer served.detach()
	return workspace.Mount(dir, workspace.Directories(served.mount.Dir(0)), root)
}

// mountedFile is the name of a single file in its checkout.
const mountedFile = "file"

// list lists what a mount selects, as a tree of its own, with where its contents come from. As in a COPY, extended
// attributes of the context stay behind.
func (f *Files) list(ctx context.Context) (*layer.TOC, layer.FileSource, error) {
	match := f.Match
	origin := map[string]*layer.Entry{} // by the path in the copy
	var entries []*layer.Entry
	add := func(e *layer.Entry, path string) *layer.Entry {
		copied := *e
		copied.Path, copied.Offset = path, 0
		if f.Context {
			copied.Xattrs = nil
		}
		entries = append(entries, &copied)
		origin[path] = e
		return &copied
	}
	if match.Dir {
		if root := add(match.Entry, ""); root.Mode == 0 {
			root.Mode = 0o755
		}
	}
	err := match.Items(ctx, func(it *selection.Item) error {
		path := it.Target
		if !match.Dir {
			path = mountedFile
		}
		if copied := add(it.Entry, path); it.Link != "" {
			copied.Type, copied.Link, copied.Size, copied.Digest = layer.Hardlink, it.Link, 0, ""
		}
		return nil
	})
	if err != nil {
		return nil, layer.FileSource{}, err
	}
	t, err := layer.NewTOC(entries)
	from := layer.FileSource{
		Open: func(ctx context.Context, e *layer.Entry) (io.ReadCloser, error) {
			return f.Tree.Open(ctx, origin[e.Path])
		},
	}
	if modTime := f.Tree.Capabilities().ModTime; modTime != nil {
		from.ModTime = func(e *layer.Entry) time.Time { return modTime(origin[e.Path].Path) }
	}
	return t, from, err
}
