package solver

import (
	"github.com/strata-build/strata/internal/buildcontext"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/dockerfile"
)

// Inputs are what a step's result depends on, as they were looked up in the cache.
type Inputs struct {
	Key *cache.Key
	// Parent is the state that the step starts from.
	Parent *State
	// Matches are what the sources of a COPY or ADD selected, nil for other steps.
	Matches []buildcontext.Match
	// Elsewhere names the sources of an ADD that are elsewhere, in the order of their parts in the key: "the URL http://…",
	// "the branch main of https://…".
	Elsewhere []string
	// Forced is the flag for which the step runs even if it is recorded: "--no-cache", "--no-cache-filter" or, which is
	// known only once the record was looked at, "--refresh". "" where records are taken.
	Forced string
}

// tell tells whoever asked what a step depends on.
func (s *Solver) tell(step *dockerfile.Step, op *operation, parent *State, forced string) {
	if s.Inputs != nil {
		s.Inputs(step, &Inputs{Key: op.key, Parent: parent, Matches: op.matches, Elsewhere: op.elsewhere, Forced: forced})
	}
}

// forced is the flag for which a step runs whatever is recorded, "" if there is none.
func (s *Solver) forced(step *dockerfile.Step) string {
	switch {
	case s.NoCache:
		return "--no-cache"
	case s.NoCacheFilter.Has(step):
		return "--no-cache-filter"
	}
	return ""
}
