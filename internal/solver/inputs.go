package solver

import (
	"github.com/strata-build/strata/internal/buildcontext"
	"github.com/strata-build/strata/internal/cache"
)

// Inputs are what a step's result depends on, as they were looked up in the cache.
type Inputs struct {
	Key *cache.Key
	// Parent is the state that the step starts from.
	Parent *State
	// Matches are what the sources of a COPY or ADD selected, nil for other steps.
	Matches []buildcontext.Match
	// Forced says why the step runs even if it is recorded: "--no-cache". "" where records are taken.
	Forced string
}

// inputs tells whoever asked what a step depends on, before it is looked up.
func (s *Solver) inputs(op *operation, parent *State) *Inputs {
	in := &Inputs{Key: op.key, Parent: parent, Matches: op.matches}
	if s.NoCache {
		in.Forced = "--no-cache"
	}
	return in
}
