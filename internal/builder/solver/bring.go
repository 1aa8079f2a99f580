package solver

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// parallelLayers is how many layers are fetched at a time for one step, as docker pull does.
const parallelLayers = 3

// bring fetches the layers of states that are not on this machine. It is done before a step runs, so that the time that it
// takes is not taken for the step's.
func (s *Solver) bring(ctx context.Context, states ...*State) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelLayers)
	for _, st := range states {
		for _, d := range st.Chain() {
			l, err := s.store.Layer(d)
			if err != nil || l.Present() {
				continue // whoever needs it says what is wrong
			}
			g.Go(func() error {
				_, err := l.TOC(ctx)
				return err
			})
		}
	}
	return g.Wait()
}
