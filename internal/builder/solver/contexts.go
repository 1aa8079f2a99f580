package solver

import (
	"context"
	"errors"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/source/buildcontext"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/layer"
)

// Files are what steps see of a context.
type Files struct {
	Tree layer.Tree
	// Reopen gives the context anew for a step that failed because a file of it changed under its hands; nil if that
	// cannot be.
	Reopen func() (*buildcontext.Context, error)
}

// filesOf is the context that a step copies from: the build's own, or a named one.
func (s *Solver) filesOf(ctx context.Context, step *dockerfile.Step) (*Files, error) {
	if step.Copy != nil && step.Copy.From.Named != "" {
		return s.config.Inputs.Named(ctx, step.Copy.From.Named)
	}
	return &Files{s.config.Inputs.Context, s.config.Inputs.Reopen}, nil
}

// solveOn solves a step with what it sees of its context, and once more with a new look at it where somebody wrote to
// it while it was read.
func (s *Solver) solveOn(ctx context.Context, state *State, step *dockerfile.Step, v *event.Vertex, files *Files) (*State, *cache.Record, bool, error) {
	next, record, ran, err := s.solveStep(ctx, state, step, v, files.Tree)
	if !errors.Is(err, buildcontext.ErrChanged) || files.Reopen == nil {
		return next, record, ran, err
	}
	fresh, err := files.Reopen()
	if err != nil {
		return nil, nil, false, err
	}
	defer fresh.Close()
	return s.solveStep(ctx, state, step, v, fresh)
}
