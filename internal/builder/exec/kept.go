package exec

import (
	"context"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store"
)

// Copying 20,000 files of 433 MB takes seconds, and a build in which one of them changed needs one
// of them. So the copy that a mount shows stays in the store, and a later build writes only what
// differs from it on top, with whiteouts for what is gone: overlayfs shows both as one. Where more
// than a quarter differs, all is copied anew and takes the place of what was kept.

// A copy of less than both of these is as quick to make as to find.
const (
	keptEntries = 256
	keptBytes   = 4 << 20
)

// keptName is the name under which a copy is kept: that of the context and what is selected there. "" for what is
// not kept: what is small, and contexts that the next build will not meet again.
func keptName(files *Files, t *layer.TOC) string {
	name := files.Tree.Capabilities().Name
	if name == "" || len(t.Entries) < keptEntries && t.Size() < keptBytes {
		return ""
	}
	return digest.FromString(name + "/" + files.Match.Path).Encoded()
}

// checkoutKept copies what t lists with the help of the copy that is kept, or keeps a new one. Two
// builds that need the same one make it once.
func (e *Executor) checkoutKept(ctx context.Context, name string, t *layer.TOC, from layer.FileSource) ([]string, error) {
	release, err := e.Store.Lock(ctx, "laid-"+name)
	if err != nil {
		return nil, err
	}
	defer release()
	kept, err := e.Store.ContextCopy(name)
	if err != nil {
		return nil, err
	}
	if kept != nil && !e.Distrust {
		trees, err := e.checkoutDelta(ctx, kept, t, from)
		if trees != nil || err != nil {
			return trees, err
		}
	}
	if kept != nil {
		kept.Release()
	}
	dir, err := e.materialise(ctx, t, from)
	if err != nil {
		return nil, err
	}
	tree, err := e.Store.KeepContextCopy(name, &store.ContextCopy{TOC: t, Times: timesOf(t, from)}, dir)
	return []string{tree}, err
}

// checkoutDelta puts what differs from a kept copy on top of it; nil if that is too much.
func (e *Executor) checkoutDelta(ctx context.Context, kept *store.ContextCopy, t *layer.TOC, from layer.FileSource) ([]string, error) {
	then := map[*layer.Entry]int64{}
	for i, e := range kept.TOC.Entries {
		then[e] = kept.Times[i]
	}
	delta, err := layer.Delta(kept.TOC, t, func(a, b *layer.Entry) bool {
		return layer.Differences(a, b)&^layer.AttrTime == 0 && then[a] == timeOf(b, from)
	})
	switch {
	case err != nil:
		return nil, err
	case len(delta.Entries) == 0:
		return []string{kept.Dir}, nil
	case 4*len(delta.Entries) > len(t.Entries) || 4*delta.Size() > t.Size():
		return nil, nil
	}
	dir, err := e.materialise(ctx, delta, from)
	return []string{filepath.Join(dir, "fs"), kept.Dir}, err
}

// timesOf are the times of what t lists.
func timesOf(t *layer.TOC, from layer.FileSource) []int64 {
	times := make([]int64, len(t.Entries))
	for i, e := range t.Entries {
		times[i] = timeOf(e, from)
	}
	return times
}

// timeOf is the time that an entry is written with, in nanoseconds since 1970.
func timeOf(e *layer.Entry, from layer.FileSource) int64 {
	if e.Type == layer.File && from.ModTime != nil {
		return from.ModTime(e).UnixNano()
	}
	return time.Unix(e.ModTime, 0).UnixNano()
}
