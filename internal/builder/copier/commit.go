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
	entries := make([]*layer.Entry, 0, len(w.entries))
	for name, e := range w.entries {
		d := *e
		if d.Type == layer.File && d.Digest == "" {
			from, ok := w.sources[name]
			if !ok {
				return nil, fmt.Errorf("%s has no contents", name)
			}
			if err := from.tree.Sum(ctx, []*layer.Entry{from.entry}); err != nil {
				return nil, err
			}
			d.Digest = from.entry.Digest
		}
		entries = append(entries, &d)
	}
	return layer.NewTOC(entries)
}

// Commit writes the layer, as one uncompressed tar, and returns its diffID; "" if nothing was made and
// keepEmpty is not set.
func (w *Draft) Commit(ctx context.Context, s *store.Store, keepEmpty bool) (digest.Digest, error) {
	if len(w.entries) == 0 && !keepEmpty {
		return "", nil
	}
	// The parents that exist below are part of the layer, unchanged: overlayfs shows the attributes of the
	// topmost layer that has a directory.
	for name := range w.entries {
		for p := layer.Parent(name); p != "" && w.entries[p] == nil; p = layer.Parent(p) {
			e, err := w.below.Lookup(ctx, p)
			if err != nil {
				return "", err
			}
			d := *e
			d.Opaque, d.Offset = false, 0
			w.entries[p] = &d
		}
	}
	entries := make([]*layer.Entry, 0, len(w.entries))
	for _, e := range w.entries {
		entries = append(entries, e)
	}
	t, err := layer.NewTOC(entries)
	if err != nil {
		return "", err
	}
	dir, err := s.Temp("copy")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	f, err := os.OpenFile(filepath.Join(dir, "tar"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", fmt.Errorf("writing a layer: %w", s.Explain(err))
	}
	made, err := layer.WriteTarFile(ctx, f, t, w.open)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("writing a layer: %w", s.Explain(err))
	}
	if _, err := s.AddLayer(made.DiffID, made.TOC, dir); err != nil {
		return "", err
	}
	return made.DiffID, nil
}

// Close removes what was unpacked and fetched for the draft.
func (w *Draft) Close() {
	for _, a := range w.archives {
		os.RemoveAll(a.dir)
	}
	for _, f := range slices.Backward(w.cleanup) {
		f()
	}
}
