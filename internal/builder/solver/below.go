package solver

import (
	"bytes"
	"context"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/local"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/observed"
	"github.com/strata-build/strata/internal/store"
)

// A COPY looks at what is below it: whether its destination is there, and what owns the directories on the way. Where
// the layers below are not on this machine, they would be fetched for that. So what was looked up is recorded, under
// a key of the layers below and the destination: a COPY of other files asks about the same, and nothing is fetched.

// weakBelow is the weak key of a COPY, ADD or WORKDIR: that of the state that it is laid on, and its destination. nil
// where nothing is observed.
func (s *Solver) weakBelow(parent *State, where ...string) *cache.Key {
	if !s.config.Records.Observe.On || s.config.Dialect.Steps.KeyedByPosition {
		return nil
	}
	weak := &cache.Key{Kind: cache.KindBelow}
	weak.Add(cache.PartChain, string(parent.chain().shared))
	weak.Add(cache.PartDest, where...)
	return weak
}

// seesBelow gives an operation its weak key; nil for none.
func (op *operation) seesBelow(weak *cache.Key) {
	if weak != nil {
		op.weak, op.observation = weak, &cache.Observation{Key: weak}
	}
}

// seeBelow gives an operation what it sees of the state that it is laid on, with what is recorded of that, if a layer
// of it is not here.
func (s *Solver) seeBelow(ctx context.Context, op *operation, parent *State) error {
	stack, err := parent.Stack()
	if err != nil {
		return err
	}
	op.below = layer.NewPartial(stack, nil)
	if op.weak == nil || s.areHere(parent.Chain()) {
		return nil
	}
	weak := op.weak.Digest()
	found, err := local.Candidates(s.store, weak, maxCandidates)
	if err != nil {
		return err
	}
	var all []*cache.Record
	for _, f := range found {
		all = append(all, f.Record)
	}
	for _, source := range s.config.Records.Imported {
		all = append(all, source.Candidates(ctx, weak, maxCandidates)...)
	}
	var known []*layer.TOC
	for _, r := range all {
		t := &layer.TOC{}
		if t.Decode(bytes.NewReader(r.Observed.Data)) == nil {
			known = append(known, t)
		}
	}
	op.below = layer.NewPartial(stack, known)
	return nil
}

// areHere says whether what the layers of a chain hold is known here.
func (s *Solver) areHere(chain []digest.Digest) bool {
	layers, err := s.distinct(chain)
	return err == nil && !slices.ContainsFunc(layers, func(l *store.Layer) bool { return !l.Present() })
}

// observed is what a record has of what its step saw, nil if that is nothing or too much.
func (op *operation) observed(ctx context.Context, in *observed.Inputs) *cache.Observed {
	switch {
	case op.weak == nil:
		return nil
	case in != nil:
		return cache.NewObserved(op.weak.Digest(), in)
	case op.below == nil:
		return nil
	}
	t, err := op.below.Excerpt(ctx)
	if err != nil {
		return nil
	}
	var b bytes.Buffer
	if t.Encode(&b) != nil || b.Len() > observed.MaxEncoded {
		return nil
	}
	return &cache.Observed{Weak: op.weak.Digest(), Data: b.Bytes()}
}
