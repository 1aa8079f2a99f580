package copier

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store"
)

// Contents lists the entries of the draft, with the digests of the files. Nothing is written for it.
func (w *Draft) Contents(ctx context.Context) (*layer.TOC, error) {
	if err := w.loosen(); err != nil {
		return nil, err
	}
	entries := w.list()
	for i, e := range entries {
		d := *e
		if d.Type == layer.File && d.Digest == "" {
			var err error
			if d.Digest, err = w.sum(ctx, e); err != nil {
				return nil, err
			}
		}
		entries[i] = &d
	}
	return layer.NewTOC(entries)
}

// sum is the digest of an entry's contents.
func (w *Draft) sum(ctx context.Context, e *layer.Entry) (digest.Digest, error) {
	from, ok := w.sourceOf(e)
	if !ok {
		return "", fmt.Errorf("%s has no contents", e.Path)
	}
	entries := []*layer.Entry{from.entry}
	err := from.tree.Sum(ctx, entries)
	return entries[0].Digest, err
}

// changes are the entries of the draft that are not below already, and the directories that lead to them.
func (w *Draft) changes(ctx context.Context) (*layer.Encoded, error) {
	if w.bulk != nil {
		return w.changesInBulk(ctx)
	}
	t, err := layer.NewTOC(w.list())
	if err == nil {
		t, err = layer.WithoutUnchanged(ctx, t, w.below, w.sum)
	}
	if err == nil && len(t.Entries) > 0 {
		t, err = w.withParents(ctx, t)
	}
	if err != nil {
		return nil, err
	}
	return t.Encoded()
}

// Commit writes the layer, as one uncompressed tar, and returns its diffID; "" if nothing was made and
// keepEmpty is not set.
func (w *Draft) Commit(ctx context.Context, s *store.Store, keepEmpty bool) (digest.Digest, error) {
	t, err := w.changes(ctx)
	if err != nil {
		return "", err
	}
	if t.Len() == 0 && !keepEmpty {
		return "", nil
	}
	made, err := w.store(ctx, s, t)
	if errors.Is(err, layer.ErrEarlier) { // it would be a delta of itself, or what it is one of went away meanwhile
		w.earlier = nil
		made, err = w.store(ctx, s, t)
	}
	return made, err
}

// store writes the layer and adds it to the store.
func (w *Draft) store(ctx context.Context, s *store.Store, t *layer.Encoded) (digest.Digest, error) {
	dir, err := s.Temp("copy")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	made, err := w.write(ctx, s, t, filepath.Join(dir, "tar"))
	if err != nil {
		return "", fmt.Errorf("writing a layer: %w", s.Explain(err))
	}
	_, err = s.AddMade(made, dir)
	return made.DiffID, err
}

// write writes the layer's tar: out of that of an earlier layer, where there is one that has much of it, or anew.
func (w *Draft) write(ctx context.Context, s *store.Store, t *layer.Encoded, path string) (*layer.Tar, error) {
	made, err := w.assemble(ctx, s, t, path)
	if made != nil || err != nil {
		return made, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	made, err = layer.WriteEncodedTarFile(ctx, f, t, w.counted(t.Size()))
	return made, errors.Join(err, f.Close())
}

// withParents adds the parents that exist below, unchanged: overlayfs shows the attributes of the topmost layer that
// has a directory.
func (w *Draft) withParents(ctx context.Context, t *layer.TOC) (*layer.TOC, error) {
	there := map[string]bool{"": true}
	for _, e := range t.Entries {
		if e.Type == layer.Dir {
			there[e.Path] = true
		}
	}
	entries := t.Entries
	for _, e := range t.Entries {
		for p := layer.Parent(e.Path); !there[p]; p = layer.Parent(p) {
			below, err := w.below.Lookup(ctx, p)
			if err != nil {
				return nil, err
			}
			d := *below
			d.Opaque, d.Offset = false, 0
			entries, there[p] = append(entries, &d), true
		}
	}
	return layer.NewTOC(entries)
}

// Close removes what was unpacked and fetched for the draft.
func (w *Draft) Close() {
	for _, f := range slices.Backward(w.cleanup) {
		f()
	}
}
