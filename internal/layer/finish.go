package layer

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// finishTree completes a tree that has its directories and files: first what is neither, then hard links, and at the end
// the directories' own metadata, since whatever is made in a directory changes its time. A root that is not
// among the entries becomes that of below: overlayfs shows the topmost layer's.
func finishTree(ctx context.Context, root int, entries []*Entry, below Tree) error {
	if len(entries) == 0 || entries[0].Path != "" {
		e := impliedRoot(ctx, below)
		entries = append([]*Entry{e}, entries...)
	}
	steps := []struct {
		has func(*Entry) bool
		do  func(*tree, *Entry) error
	}{
		{func(e *Entry) bool { return e.Type != Dir && e.Type != File && e.Type != Hardlink }, (*tree).special},
		{func(e *Entry) bool { return e.Type == Hardlink }, (*tree).link},
		{func(e *Entry) bool { return e.Type == Dir }, (*tree).directory},
	}
	for _, s := range steps {
		var todo []*Entry
		for _, e := range entries {
			if s.has(e) {
				todo = append(todo, e)
			}
		}
		if err := inParallel(ctx, root, todo, s.do); err != nil {
			return err
		}
	}
	return nil
}

// inParallel does something with every entry; neighbours go to the same goroutine, which has their directory open.
func inParallel(ctx context.Context, root int, entries []*Entry, do func(*tree, *Entry) error) error {
	g, ctx := errgroup.WithContext(ctx)
	const batch = 64
	work := make(chan []*Entry)
	for range min(fileWriters, len(entries)/batch+1) {
		g.Go(func() error {
			t := newTree(root)
			defer t.close()
			for some := range work {
				for _, e := range some {
					if err := do(t, e); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		defer close(work)
		for len(entries) > 0 {
			n := min(batch, len(entries))
			select {
			case work <- entries[:n]:
			case <-ctx.Done():
				return ctx.Err()
			}
			entries = entries[n:]
		}
		return nil
	})
	return g.Wait()
}

// impliedRoot is the root of a layer that says nothing of it.
func impliedRoot(ctx context.Context, below Tree) *Entry {
	e := &Entry{Type: Dir, Mode: 0o755}
	if below == nil {
		return e
	}
	if b, err := below.Lookup(ctx, ""); err == nil {
		e.Mode, e.UID, e.GID, e.ModTime, e.Xattrs = b.Mode, b.UID, b.GID, b.ModTime, b.Xattrs
	}
	return e
}
