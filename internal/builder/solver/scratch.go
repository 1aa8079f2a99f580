package solver

import (
	"context"
	"time"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/local"
	"github.com/strata-build/strata/internal/image"
)

// beginScratch gives FROM scratch a time, which it remembers so that rows which only change the
// configuration have the same time, and hence the same step ID, in every build. The time of an imported cache
// goes first, so that its steps give the image that they gave there; not with the classic engine, whose keys on
// this machine follow from the step IDs.
func (s *Solver) beginScratch(ctx context.Context, state *State) (*State, error) {
	key := &cache.Key{Kind: cache.KindScratch}
	release, err := local.New(s.store).Lease(ctx, key.Digest())
	if err != nil {
		return nil, err
	}
	defer release()
	r, err := s.lookupScratch(ctx, key)
	if err != nil {
		return nil, err
	}
	c := *state.Config
	c.Created = &r.Created
	next := newState(s.store, "", image.Grow(&c))
	next.steps = []cache.Step{cache.NewStep(key, r)}
	return next, nil
}

func (s *Solver) lookupScratch(ctx context.Context, key *cache.Key) (*cache.Record, error) {
	here, err := local.Lookup(s.store, key)
	if err != nil || here != nil && s.config.Dialect.Steps.KeyedByPosition {
		return here, err
	}
	var r *cache.Record
	for _, source := range s.config.Records.Imported {
		if r, err = s.ask(ctx, source, key); r != nil || err != nil {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	if r == nil {
		if r = here; r == nil {
			r = &cache.Record{Created: time.Now().UTC()}
		}
		if r, err = s.shareScratch(ctx, key, r); err != nil || r == here {
			return r, err
		}
	}
	r.Instruction = "FROM scratch"
	if here == nil {
		err = local.Save(s.store, key, r)
	}
	return r, err
}
