package solver

import (
	"context"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/sandbox/tracefs"
	"github.com/strata-build/strata/internal/store"
)

// What a step makes on layers that are read in parts rests on their tables of contents, which come with an image and
// are compared with nothing that the layers' digests promise: with a SOCI index, anybody can write one for anybody's
// layer. So it is recorded apart, under keys that name those tables, and is found by builds that read the same layers
// by the same tables, and by no others. What was made on whole layers is good for all, and comes first.

// keys are those by which an operation is recorded.
type keys struct {
	key *cache.Key
	// shared is the key by which imported caches know the step: the graph engine's, in both engines. nil for
	// a step of the classic engine that only changes the configuration.
	shared *cache.Key
	// weak is the key of a RUN without the layers that it is observed on; nil for what is not observed. observation is
	// what it is made of. That of a COPY, ADD or WORKDIR is of the state that it is laid on.
	weak        *cache.Key
	observation *cache.Observation
}

// parts is how layers of states are read in parts.
type parts struct {
	tables string // names their tables of contents; "" where no layer can be read so
	away   bool   // a layer of these is not here, so that it is
}

// partsOf says how layers of states are read in parts.
func (s *Solver) partsOf(states ...*State) (p parts, err error) {
	if !s.config.Sandbox.Lazy || tracefs.Available() != nil {
		return p, nil
	}
	var all []string
	for _, st := range states {
		for _, d := range st.Chain() {
			by, err := s.store.PartsBy(d)
			if err != nil {
				return p, err
			}
			if by != "" {
				all = append(all, by)
				p.away = p.away || !s.store.IsPresent(d)
			}
		}
	}
	if len(all) > 0 {
		p.tables = digest.FromString(strings.Join(slices.Compact(slices.Sorted(slices.Values(all))), " ")).String()
	}
	return p, nil
}

// setApart gives an operation keys of its own where it looks at layers that can be read in parts, and notes those that
// it has on whole layers.
func (s *Solver) setApart(op *operation, parent *State) error {
	var states []*State
	if !op.link { // which lies on any state
		states = append(states, parent)
	}
	if op.from != nil {
		states = append(states, op.from)
	}
	for _, m := range op.mounts {
		if from, ok := m.From.(*State); ok && from != nil {
			states = append(states, from)
		}
	}
	p, err := s.partsOf(states...)
	if err != nil || p.tables == "" {
		return err
	}
	whole := op.keys
	op.whole, op.keys, op.lazy = &whole, whole.apart(p.tables, parent), p.away
	return nil
}

// claim says that the layer of a step is not read in parts: no image answers for it, and one that happens to have the
// same layer does not either.
func (s *Solver) claim(diffID digest.Digest) {
	if s.config.Sandbox.Lazy && diffID != "" {
		s.store.AddClaim(diffID, store.Claim{})
	}
}

// by is a key with a part for the tables of contents; nil of nil.
func by(k *cache.Key, tables string) *cache.Key {
	if k == nil {
		return nil
	}
	c := &cache.Key{Kind: k.Kind, Parts: slices.Clone(k.Parts)}
	c.Add(cache.PartTables, tables)
	return c
}

// apart are the keys with a part for the tables of contents.
func (k keys) apart(tables string, parent *State) keys {
	with := keys{key: by(k.key, tables), shared: by(k.shared, tables), weak: by(k.weak, tables)}
	if k.observation != nil {
		o := *k.observation
		if o.Key == k.weak {
			o.Key = with.weak
		} else {
			o.Key = with.shared
			with.weak = cache.Weaken(o.Key, parent.Chain(), o.Layers, o.Mounts)
		}
		with.observation = &o
	}
	return with
}

// recordedApart is what is recorded of an operation that looks at layers that can be read in parts; nil if there is
// nothing that can be used. It has the keys then under which that is, or else those under which its result belongs.
func (s *Solver) recordedApart(ctx context.Context, parent *State, step *dockerfile.Step, op *operation) (*cache.Record, error) {
	apart := op.keys
	op.keys = *op.whole
	r, err := s.recorded(ctx, parent, step, op)
	if r != nil || err != nil {
		return r, err
	}
	op.keys = apart
	if op.lazy {
		return nil, nil // lookupOrRun looks itself
	}
	if r, err = s.recorded(ctx, parent, step, op); r == nil {
		op.keys, op.whole = *op.whole, nil // all layers are here by now
	}
	return r, err
}

// recorded is what is recorded of an operation, here or where the build looks; nil if there is nothing that can be
// used.
func (s *Solver) recorded(ctx context.Context, parent *State, step *dockerfile.Step, op *operation) (*cache.Record, error) {
	if s.forced(step) != "" {
		return nil, nil
	}
	r, err := s.lookup(step, op.key)
	if r == nil && err == nil {
		r, err = s.fromCaches(ctx, parent, step, op)
	}
	if r == nil && err == nil {
		r, err = s.fromObserved(ctx, parent, step, op)
	}
	if err != nil || r == nil || s.stale(step, r) || r.IsObservedHit() && s.config.Records.Observe.Verify {
		return nil, err
	}
	return r, nil
}
