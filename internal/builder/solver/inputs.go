package solver

import (
	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/source/buildcontext"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/layer"
)

// Inputs are what a step's result depends on, as they were looked up in the cache.
type Inputs struct {
	Key *cache.Key
	// Parent is the state that the step starts from.
	Parent *State
	// Matches are what the sources of a COPY or ADD selected, nil for other steps.
	Matches []buildcontext.Match
	// Elsewhere names the sources of an ADD that are elsewhere, in the order of their parts in the
	// key: "the URL http://…", "the branch main of https://…".
	Elsewhere []string
	// Mounts are those of a RUN that count by content.
	Mounts []MountInput
	// Forced is the flag for which the step runs even if it is recorded: "--no-cache", "--no-cache-filter" or, which is
	// known only once the record was looked at, "--refresh". "" where records are taken.
	Forced string
}

// MountInput is a mount of a RUN that counts by content.
type MountInput struct {
	dockerfile.Mount
	// List lists the files that it shows.
	List func() (*layer.TOC, error)
}

// tell tells whoever asked what a step depends on.
func (s *Solver) tell(step *dockerfile.Step, op *operation, parent *State, forced string) {
	if s.Inputs != nil {
		s.Inputs(step, &Inputs{Key: op.key, Parent: parent, Matches: op.matches, Mounts: op.mounts, Elsewhere: op.remote, Forced: forced})
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
