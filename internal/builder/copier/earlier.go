package copier

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store"
)

// minAssembled is how many bytes of files and headers a layer has at least for which an earlier one is looked for.
const minAssembled = 8 << 20

// maxEarlier is how many earlier layers are compared with the new one, by their tables of contents.
const maxEarlier = 2

// maxOwn is which part of a layer's bytes, one in so many, a delta has itself at most: with more, the layer becomes a
// tar of its own, which later ones are deltas of.
const maxOwn = 4

// Reuse has Commit assemble the layer out of one of earlier layers, where one has much of what it is to have: those
// that the same instruction made before. earlier is called when that is worth it.
func (w *Draft) Reuse(earlier func() []digest.Digest) { w.earlier = earlier }

// assemble writes the layer's tar out of that of an earlier layer; nil where there is none that has much of it, or
// the one that there is turns out to be damaged. That one is verified then, and set aside.
func (w *Draft) assemble(ctx context.Context, s *store.Store, t *layer.Encoded, path string) (*layer.Tar, error) {
	size := t.Size() + int64(t.Len())*layer.TarBlock
	if w.earlier == nil || size < minAssembled {
		return nil, nil
	}
	for _, diffID := range mostAlike(s, w.earlier(), t.Size()) {
		e, err := s.Earlier(ctx, diffID)
		if err != nil {
			continue
		}
		made, err := w.assembleOf(ctx, s, t, e, path)
		e.Close()
		if errors.Is(err, layer.ErrEarlier) {
			if l, err := s.Layer(diffID); err == nil {
				_, _ = l.Sound(ctx) // the new one is written anew whatever it says
			}
			return nil, ctx.Err()
		}
		if made != nil || err != nil {
			return made, err
		}
	}
	return nil, nil
}

// assembleOf is assemble of one layer.
func (w *Draft) assembleOf(ctx context.Context, s *store.Store, t *layer.Encoded, e *store.Earlier, path string) (*layer.Tar, error) {
	a := layer.Assemble(t, &e.Earlier)
	if a == nil {
		return nil, nil
	}
	// A delta is read through an index of it, where a process needs it.
	write := a.WriteTarFile
	if a.Own() <= t.Size()/maxOwn && s.KeepsTars() {
		path, write = filepath.Join(filepath.Dir(path), store.DeltaFile), a.WriteDelta
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	made, err := write(ctx, f, w.counted(a.Fresh))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	return made, nil
}

// mostAlike are the few of some layers whose files have about so many bytes together, the nearest first.
func mostAlike(s *store.Store, all []digest.Digest, size int64) []digest.Digest {
	type found struct {
		diffID digest.Digest
		apart  int64
	}
	var some []found
	for _, d := range all {
		if l, err := s.Layer(d); err == nil && !slices.ContainsFunc(some, func(f found) bool { return f.diffID == d }) {
			some = append(some, found{d, max(l.Size-size, size-l.Size)})
		}
	}
	slices.SortStableFunc(some, func(a, b found) int { return cmp.Compare(a.apart, b.apart) })
	var nearest []digest.Digest
	for _, f := range some[:min(len(some), maxEarlier)] {
		nearest = append(nearest, f.diffID)
	}
	return nearest
}
