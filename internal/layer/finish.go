package layer

import (
	"context"
	"iter"

	"golang.org/x/sync/errgroup"
)

// finishTree completes a tree that has its directories and files: first what is neither, then hard links, and at the
// end the directories' own metadata, since whatever is made in a directory changes its time. A root that is not among
// the entries becomes that of below: overlayfs shows the topmost layer's.
func finishTree(ctx context.Context, root int, entries iter.Seq[*Entry], below Tree) error {
	steps := []struct {
		has func(*Entry) bool
		do  func(*tree, *Entry) error
	}{
		{func(e *Entry) bool { return e.Type != Dir && e.Type != File && e.Type != Hardlink }, (*tree).special},
		{func(e *Entry) bool { return e.Type == Hardlink }, (*tree).link},
		{func(e *Entry) bool { return e.Type == Dir }, (*tree).directory},
	}
	for _, s := range steps {
		todo := func(yield func(*Entry) bool) {
			rooted := false
			for e := range entries {
				if rooted = rooted || e.Path == ""; !rooted {
					if implied := impliedRoot(ctx, below); s.has(implied) && !yield(implied) {
						return
					}
					rooted = true
				}
				if s.has(e) && !yield(e) {
					return
				}
			}
			if implied := impliedRoot(ctx, below); !rooted && s.has(implied) {
				yield(implied)
			}
		}
		if err := inParallel(ctx, root, todo, s.do); err != nil {
			return err
		}
	}
	return nil
}

// inParallel does something with a copy of every entry; neighbours go to the same goroutine, which has their directory
// open.
func inParallel(ctx context.Context, root int, entries iter.Seq[*Entry], do func(*tree, *Entry) error) error {
	g, ctx := errgroup.WithContext(ctx)
	const batch = 64
	work := make(chan []Entry)
	for range fileWriters {
		g.Go(func() error {
			t := newTree(root)
			defer t.close()
			for some := range work {
				for i := range some {
					if err := do(t, &some[i]); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		defer close(work)
		var some []Entry
		give := func() bool {
			if len(some) == 0 {
				return true
			}
			select {
			case work <- some:
				some = nil
				return true
			case <-ctx.Done():
				return false
			}
		}
		for e := range entries {
			if some = append(some, *e); len(some) == batch && !give() {
				return ctx.Err()
			}
		}
		if !give() {
			return ctx.Err()
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

// ofType are those of some entries that have a type.
func ofType(kind Type, entries iter.Seq[*Entry]) iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		for e := range entries {
			if e.Type == kind && !yield(e) {
				return
			}
		}
	}
}
