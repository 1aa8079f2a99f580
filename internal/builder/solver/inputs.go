package solver

import (
	"github.com/strata-build/strata/internal/builder/dockerfile"
)

// forced is the flag for which a step runs whatever is recorded, "" if there is none.
func (s *Solver) forced(step *dockerfile.Step) string {
	switch {
	case s.config.Records.NoCache:
		return "--no-cache"
	case s.config.Records.NoCacheFilter.Has(step):
		return "--no-cache-filter"
	}
	return ""
}
