package solver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store"
)

// A record may name a layer that is elsewhere, since a hit moves no bytes. That the layer cannot be had any more is
// noticed when a later step runs on it, and maybe in another stage. Then the record was no hit after all: the layer
// counts as unavailable, and everything is solved again, where the steps that ran meanwhile are hits and the one whose
// layer is unavailable runs. Each round finds another such layer, so there is an end.

// use notes that a recorded layer is part of the build though it need not be here.
func (s *Solver) use(r *cache.Record) {
	if r == nil || r.Layer == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used[r.Layer] = *r
}

// maxDamages is how often a layer may turn out to be damaged in one build: as a tar, as a tree, and made again.
const maxDamages = 3

// mended says whether an error is a layer that turned out to be damaged while its files were read. It is set aside, so
// that solving again reads another form of it, or runs the step that makes it.
func (s *Solver) mended(err error) bool {
	var damaged *store.DamagedError
	if !errors.As(err, &damaged) {
		return false
	}
	s.mu.Lock()
	s.damages[damaged.DiffID]++
	again := s.damages[damaged.DiffID] <= maxDamages
	s.mu.Unlock()
	if again {
		s.warn(fmt.Sprintf("layer %s was damaged and is set aside: %v", image.ShortID(damaged.DiffID), damaged.Cause))
	}
	return again
}

// recovers says whether an error is a recorded layer that cannot be had, so that solving again will help.
func (s *Solver) recovers(err error) (*store.UnavailableError, bool) {
	var gone *store.UnavailableError
	if !errors.As(err, &gone) {
		return nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, recorded := s.used[gone.DiffID]
	return gone, recorded && !s.unavailable[gone.DiffID]
}

// giveUp makes a layer count as unavailable.
func (s *Solver) giveUp(gone *store.UnavailableError) {
	s.mu.Lock()
	r := s.used[gone.DiffID]
	s.unavailable[gone.DiffID] = true
	s.mu.Unlock()
	if r.Origin != "" && errors.Is(gone.Cause, store.ErrNowhere) {
		return // as is usual of a cache that has this step's key only
	}
	from := ""
	if r.Origin != "" {
		from = " from the cache " + r.Origin
	}
	s.warn(fmt.Sprintf("%s: its layer %s%s cannot be fetched, so the step runs again: %v", r.Instruction, image.ShortID(gone.DiffID), from, gone.Cause))
}

// isUnavailable says that a record is of no use, since its layer cannot be had. Once the step ran again the layer is
// allUnavailable are the layers that cannot be had any more.
func (s *Solver) allUnavailable() []digest.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.unavailable))
}

// here, if it turned out to be the same.
func (s *Solver) isUnavailable(r *cache.Record) bool {
	if r == nil || r.Layer == "" {
		return false
	}
	s.mu.Lock()
	gone := s.unavailable[r.Layer]
	s.mu.Unlock()
	if !gone {
		return false
	}
	l, err := s.store.Layer(r.Layer)
	return err != nil || !l.Present()
}

// incomplete is a *store.UnavailableError where a recorded layer of the target is neither here nor known to be
// elsewhere: its record came without it (see Steps), or somebody has removed its files. The layers of other stages may
// be so.
func (s *Solver) incomplete(state *State) error {
	for _, d := range state.Chain() {
		s.mu.Lock()
		_, recorded := s.used[d]
		s.mu.Unlock()
		if !recorded {
			continue
		}
		if can, err := s.store.CanBeHad(d); err != nil {
			return err
		} else if !can {
			return &store.UnavailableError{DiffID: d, Cause: store.ErrNowhere}
		}
	}
	return nil
}

// Solve gives the state of the plan's target. The error of a step is a *dockerfile.Error around what went
// wrong.
func (s *Solver) Solve(ctx context.Context, plan *dockerfile.Plan) (*State, error) {
	defer func() { s.executor().Close() }()
	s.sharing = newSharing(ctx)
	defer s.sharing.all.Wait()
	for {
		state, err := s.solve(ctx, plan)
		if err == nil {
			err = s.incomplete(state)
		}
		gone, again := s.recovers(err)
		switch {
		case ctx.Err() == nil && s.mended(err):
		case !again || ctx.Err() != nil:
			return state, err
		default:
			s.giveUp(gone)
		}
		s.store.ForgetHeld() // in another round, nothing counts as read before
	}
}
