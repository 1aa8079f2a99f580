package solver

import (
	"context"
	"errors"
	"fmt"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/local"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store"
)

// fromCaches looks a step up in the imported caches, and keeps what it finds as a record of this
// machine; nil if nothing fits.
func (s *Solver) fromCaches(ctx context.Context, parent *State, step *dockerfile.Step, op *operation) (*cache.Record, error) {
	for _, source := range s.config.Records.Imported {
		r, err := s.fromSource(ctx, source, parent, step, op)
		if err != nil {
			return nil, err
		}
		if r == nil {
			continue
		}
		r.Fetches = s.fetches(step)
		if err := local.SaveObserved(s.store, op.key, r); err != nil {
			return nil, err
		}
		return r, nil
	}
	return nil, nil
}

func (s *Solver) fromSource(ctx context.Context, source *cache.Source, parent *State, step *dockerfile.Step, op *operation) (*cache.Record, error) {
	if op.shared == nil {
		if r, err := s.ask(ctx, source, op.key); r != nil || err != nil {
			return r, err
		}
		return settingFrom(source, parent, step), nil
	}
	r, err := s.ask(ctx, source, op.shared)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return s.fromImage(ctx, source, parent, step, op)
	}
	r.Instruction, r.Written = step.Text, step.Written()
	if r.Layer == "" && s.keepEmpty() {
		return nil, nil // from an image of the classic engine, which lacks the empty layer
	}
	if r.Layer == layer.EmptyDiffID && !s.keepEmpty() {
		r.Layer = ""
	}
	return s.known(r)
}

// ask looks a key up in an imported cache. One that does not answer is a warning, and has nothing.
func (s *Solver) ask(ctx context.Context, source *cache.Source, key *cache.Key) (*cache.Record, error) {
	r, err := source.Lookup(ctx, key.Digest())
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		s.warn(fmt.Sprintf("no cache from %s: %v", source.Name, err))
	}
	return r, nil
}

// known gives a record whose layer the store knows, here or in a registry; nil if it does not.
func (s *Solver) known(r *cache.Record) (*cache.Record, error) {
	if r.Layer == "" {
		return r, nil
	}
	_, err := s.store.Layer(r.Layer)
	if errors.Is(err, store.ErrNotFound) || s.isUnavailable(r) {
		return nil, nil
	}
	return r, err
}
