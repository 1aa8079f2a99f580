package solver

import (
	"context"
	"errors"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/local"
	"github.com/strata-build/strata/internal/layer/summary"
	"github.com/strata-build/strata/internal/store"
)

// Refresh says which steps run again though they are recorded.
type Refresh struct {
	// Only are the steps that may run again; nil for all that fetch from the network. Those that it names
	// themselves do so in any case, those of a stage that it names if they fetch.
	Only *dockerfile.Selection
	// Age spares the records that are younger.
	Age time.Duration
}

// stale says whether a recorded step has to run again.
func (s *Solver) stale(step *dockerfile.Step, r *cache.Record) bool {
	if s.config.Records.Refresh == nil || r.Age() < s.config.Records.Refresh.Age {
		return false
	}
	if s.config.Records.Refresh.Only == nil {
		return r.Fetches != ""
	}
	return s.config.Records.Refresh.Only.Names(step) || r.Fetches != "" && s.config.Records.Refresh.Only.Has(step)
}

// lookup is local.Lookup that says of records from before, or from elsewhere, whether they fetch.
func (s *Solver) lookup(step *dockerfile.Step, key *cache.Key) (*cache.Record, error) {
	r, err := local.Lookup(s.store, key)
	if s.isUnavailable(r) {
		return nil, err
	}
	if r != nil && r.Fetches == "" && r.Reached == nil {
		r.Fetches = s.fetches(step)
	}
	return r, err
}

// settle decides what is recorded of a step that ran again. Where the result holds the same files as before, the
// recorded layer stays: the chainID does not change, and what comes after is still a hit. Unless everything ran, the
// step's time stays too, and with it the step ID, which the classic engine's keys are made of.
func (s *Solver) settle(ctx context.Context, before, r *cache.Record) error {
	made := r.Layer
	same, err := s.sameFiles(ctx, before.Layer, made)
	if err != nil {
		return err
	}
	if same {
		r.Layer = before.Layer
	}
	if s.config.Records.NoCache {
		return nil
	}
	r.Again = &cache.Again{Same: same}
	if same {
		r.Checked, r.Created, r.Took, r.Origin = r.Created, before.Created, before.Took, before.Origin
		return nil
	}
	// What differs is for people to read: where it cannot be told, the build is no worse for it.
	r.Again.Changes = s.compare(ctx, before.Layer, made)
	return nil
}

// sameFiles says whether two layers hold the same files, times aside. "" is no layer. A recorded layer that is damaged
// holds none: what was just made takes its place.
func (s *Solver) sameFiles(ctx context.Context, recorded, made digest.Digest) (bool, error) {
	if recorded == "" || made == "" || recorded == made {
		return recorded == made, nil
	}
	layers, err := s.store.Chain([]digest.Digest{recorded, made})
	if gone := (*store.UnavailableError)(nil); errors.As(err, &gone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if layers[0].ContentID == "" || layers[0].ContentID != layers[1].ContentID {
		return false, nil
	}
	return layers[0].Sound(ctx)
}

// compare tells in short what differs between two layers that are both on this disk; "" otherwise.
func (s *Solver) compare(ctx context.Context, before, after digest.Digest) string {
	if before == "" || after == "" {
		return ""
	}
	layers, err := s.store.Chain([]digest.Digest{before, after})
	if err != nil || !layers[0].Present() || !layers[1].Present() {
		return ""
	}
	c, err := summary.Between(ctx, layers[0].Source(), layers[1].Source())
	if err != nil {
		return ""
	}
	return c.String()
}
