package solver

import (
	"context"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/sandbox/workspace"
)

// What a mount shows of a context is copied, once for all steps of a build that mount the same: with the owners that a
// COPY would give, without what .dockerignore excludes, and as the step's key counts it, whatever an editor does to the
// files while the step runs. Steps see the copy below a layer of their own that is thrown away.
//
// The store keeps a large copy (keptlaid.go), so that the next build copies what changed only.

// laidKey is what a copy was made of: files as their contents count, in one look at a context.
type laidKey struct {
	tree layer.Tree
	sum  digest.Digest
}

// laid is a copy that somebody may be making.
type laid struct {
	once  sync.Once
	trees []string // the topmost first
	err   error
}

// lay gives the directories that, one over the other, are the copy of what a mount selects; who asks first makes it.
func (s *Solver) lay(ctx context.Context, sel *selection) ([]string, error) {
	key := laidKey{sel.Tree, sel.sum}
	s.mu.Lock()
	if s.laid == nil {
		s.laid = map[laidKey]*laid{}
	}
	l := s.laid[key]
	if l == nil {
		l = &laid{}
		s.laid[key] = l
	}
	s.mu.Unlock()
	l.once.Do(func() { l.trees, l.err = s.layOut(ctx, sel) })
	if l.err != nil {
		s.mu.Lock()
		if s.laid[key] == l {
			delete(s.laid, key)
		}
		s.mu.Unlock()
	}
	return l.trees, l.err
}

func (s *Solver) layOut(ctx context.Context, sel *selection) ([]string, error) {
	t, from, err := layout(sel)
	if err != nil {
		return nil, err
	}
	if name := keptName(sel, t); name != "" {
		return s.layKept(ctx, name, t, from)
	}
	dir, err := s.layNew(ctx, t, from)
	return []string{filepath.Join(dir, "fs")}, err
}

// layNew lays files out as "fs" in a folder of its own, which goes with the build.
func (s *Solver) layNew(ctx context.Context, t *layer.TOC, from layer.LaySource) (string, error) {
	dir, err := s.Store.Temp("mount")
	if err != nil {
		return "", err
	}
	tree := filepath.Join(dir, "fs")
	if err := workspace.Mkdir(tree, 0o755); err != nil {
		return "", err
	}
	return dir, layer.Lay(ctx, t, from, tree)
}

// mountFiles mounts what a mount selects of a context; a single file is there as mountedFile.
func (s *Solver) mountFiles(ctx context.Context, sel *selection, dir string) (*workspace.Workspace, error) {
	trees, err := s.lay(ctx, sel)
	if err != nil {
		return nil, err
	}
	root, err := workspace.OfDir(trees[0])
	if err != nil {
		return nil, err
	}
	return workspace.Mount(dir, trees, root)
}

// mountedFile is the name under which a single file is laid out.
const mountedFile = "file"

// layout lists what a mount selects, as a tree of its own, with where its contents come from. As in a COPY, extended
// attributes of the context stay behind.
func layout(sel *selection) (*layer.TOC, layer.LaySource, error) {
	match := sel.Matches[0]
	origin := map[string]*layer.Entry{} // by the path in the copy
	var entries []*layer.Entry
	add := func(e *layer.Entry, path string) *layer.Entry {
		laid := *e
		laid.Path, laid.Offset = path, 0
		if sel.Context {
			laid.Xattrs = nil
		}
		entries = append(entries, &laid)
		origin[path] = e
		return &laid
	}
	if match.Dir {
		if root := add(match.Entry, ""); root.Mode == 0 {
			root.Mode = 0o755
		}
	}
	for _, it := range match.Items {
		path := it.Target
		if !match.Dir {
			path = mountedFile
		}
		if laid := add(it.Entry, path); it.Link != "" {
			laid.Type, laid.Link, laid.Size, laid.Digest = layer.Hardlink, it.Link, 0, ""
		}
	}
	t, err := layer.NewTOC(entries)
	from := layer.LaySource{
		Open: func(e *layer.Entry) (io.ReadCloser, error) { return sel.Tree.Open(origin[e.Path]) },
	}
	if fine, ok := sel.Tree.(interface{ ModTime(path string) time.Time }); ok {
		from.ModTime = func(e *layer.Entry) time.Time { return fine.ModTime(origin[e.Path].Path) }
	}
	return t, from, err
}
