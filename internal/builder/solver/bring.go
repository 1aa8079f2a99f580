package solver

import (
	"context"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/strata-build/strata/internal/store"
)

// parallelLayers is how many layers are fetched at a time for one step, as docker pull does.
const parallelLayers = 3

// bring fetches the layers of states that are not on this machine. It is done before a step runs, so that the time
// that it takes is not taken for the step's.
func (s *Solver) bring(ctx context.Context, states ...*State) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelLayers)
	for _, st := range states {
		layers, err := s.distinct(st.Chain())
		if err != nil {
			continue // whoever needs them says what is wrong
		}
		for _, l := range layers {
			if l.Present() {
				continue
			}
			g.Go(func() error {
				_, err := l.TOC(ctx)
				return err
			})
		}
	}
	return g.Wait()
}

// distinct are the layers of a chain, each once.
func (s *Solver) distinct(chain []digest.Digest) ([]*store.Layer, error) {
	return s.store.Chain(slices.Compact(slices.Sorted(slices.Values(chain))))
}

// bringParts is bring for a state of which a RUN may read parts only: of layers that can be had in parts, it fetches
// the tables of contents, and all of the others. One whose table cannot be had is fetched whole.
func (s *Solver) bringParts(ctx context.Context, st *State, op *operation) error {
	if !op.lazy {
		return s.bring(ctx, st)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelLayers)
	for _, d := range slices.Compact(slices.Sorted(slices.Values(st.Chain()))) {
		g.Go(func() error {
			if lazy, err := s.store.Lazy(ctx, d); err == nil && lazy != nil {
				return nil
			}
			l, err := s.store.Layer(d)
			if err != nil || l.Present() {
				return nil // whoever needs it says what is wrong
			}
			_, err = l.TOC(ctx)
			return err
		})
	}
	return g.Wait()
}
