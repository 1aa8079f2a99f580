package solver

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/exec"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/local"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/observed"
)

// A RUN is observed on the layers that COPY, ADD and WORKDIR have made since the base image, and on what its bind
// mounts show of a context: it is noted what it reads of them, and its weak key is its key without them. After a miss
// of the key, the records with the same weak key are candidates: where the layers that there are now would have
// answered all that one of them asked in the same way, the step would do the same, and its record is a hit
// (docs/observed.md).

// Observe is which steps are observed. The zero value is none.
type Observe struct {
	On bool
	// Verify runs a step whose observed inputs are a hit, and compares the results.
	Verify bool
	// Except are steps that are not observed; nil for none.
	Except *dockerfile.Selection
}

// maxCandidates is how many records with a weak key are tried.
const maxCandidates = 8

// copiedBy extends what is known of a state's chain to the next state, which a step made.
func copiedBy(step *dockerfile.Step, state, next *State) []bool {
	copied := make([]bool, len(next.Chain()))
	copy(copied, state.copied)
	for i := len(state.Chain()); i < len(copied); i++ {
		copied[i] = step.Copy != nil || step.Workdir != nil
	}
	return copied
}

// addObserved gives a RUN its weak key, if it is observed. What may mount for itself is not: nobody sees what it reads
// then.
func (s *Solver) addObserved(op *operation, parent *State, step *dockerfile.Step) {
	o := s.config.Records.Observe
	if !o.On || step.Run == nil || step.Run.Insecure || s.config.Dialect.Steps.KeyedByPosition || o.Except.Has(step) {
		return
	}
	observe := make([]bool, len(parent.Chain()))
	any := false
	for i, d := range parent.Chain() {
		observe[i] = i < len(parent.copied) && parent.copied[i] && d != layer.EmptyDiffID
		any = any || observe[i]
	}
	var mounts []cache.Mounted
	for _, m := range op.mounts {
		if m.Observe = isObservable(m); m.Observe {
			mounts = append(mounts, mountedAs(m))
		}
	}
	if any || len(mounts) > 0 {
		op.weak = cache.Weaken(op.shared, parent.Chain(), observe, mounts)
		op.observation = &cache.Observation{Key: op.shared, Layers: observe, Mounts: mounts}
	}
}

// isObservable says whether what a step reads of a mount can be noted: of a directory of a context. A single file
// counts as a whole anyway, and so does what comes from a stage or an image.
func isObservable(m *exec.Mount) bool {
	sel, ok := m.Content.(*sources)
	return ok && m.Type == dockerfile.MountBind && m.From == nil && len(sel.Matches) == 1 && sel.Matches[0].Dir
}

// served are the layers and mounts that an operation is observed on, as what was read of others is compared with them.
func (s *Solver) served(ctx context.Context, parent *State, op *operation) []observed.Served {
	var list []observed.Served
	for i, d := range parent.Chain() {
		if op.observe()[i] {
			list = append(list, observed.Served{Of: d, TOC: func() (*layer.TOC, error) { return s.toc(ctx, d) }})
		}
	}
	for _, m := range op.mounts {
		if m.Observe {
			list = append(list, observed.Served{Of: m.Content.Sum(), TOC: func() (*layer.TOC, error) { return m.List(ctx) }})
		}
	}
	return list
}

// remember keeps the names of what the mounts of a step show that did not run, for who asks later what changed.
func (s *Solver) remember(ctx context.Context, op *operation) {
	for _, m := range op.mounts {
		if !m.Observe {
			continue
		}
		if err := m.Remember(ctx, s.store); err != nil && ctx.Err() == nil {
			s.warn(err.Error())
		}
	}
}

func (s *Solver) toc(ctx context.Context, diffID digest.Digest) (*layer.TOC, error) {
	l, err := s.store.Chain([]digest.Digest{diffID})
	if err != nil {
		return nil, err
	}
	return l[0].TOC(ctx)
}

// fromObserved finds a record whose step would do the same on the parent, and keeps it as the operation's own; nil if
// there is none.
func (s *Solver) fromObserved(ctx context.Context, parent *State, step *dockerfile.Step, op *operation) (*cache.Record, error) {
	if op.observe() == nil {
		return nil, nil
	}
	weak := op.weak.Digest()
	served := s.served(ctx, parent, op)
	found, err := local.Candidates(s.store, weak, maxCandidates)
	if err != nil {
		return nil, err
	}
	var first *observed.Change // of the newest
	try := func(r *cache.Record) (*cache.Record, error) {
		in, err := r.Observed.Inputs()
		if err != nil || len(in.Trees) != len(served) {
			return nil, nil
		}
		change, err := in.Compare(served)
		if first == nil {
			first = change
		}
		if err != nil || change != nil {
			return nil, err
		}
		c := *r
		c.Instruction = step.Text
		if c.Reached == nil {
			c.Fetches = s.fetches(step)
		}
		c.Observed = cache.NewObserved(weak, in.Rebase(served))
		c.Observed.Hit = true
		s.remember(ctx, op)
		return s.known(&c)
	}
	for _, f := range found {
		r, err := try(f.Record)
		if err != nil {
			return nil, err
		}
		if r == nil {
			continue
		}
		if err := s.store.UseCandidate(weak, f.Key); err != nil {
			return nil, err
		}
		return r, local.Save(s.store, op.key, r)
	}
	for _, source := range s.config.Records.Imported {
		for _, c := range source.Candidates(ctx, weak, maxCandidates) {
			r, err := try(c)
			if err != nil {
				return nil, err
			}
			if r != nil {
				return r, local.SaveObserved(s.store, op.key, r)
			}
		}
	}
	if first != nil {
		s.events.Send(event.ReadChanged{Vertex: op.vertex, Text: first.String()})
	}
	return nil, nil
}

// verified tells what came of a step that ran though its observed inputs were a hit.
func (s *Solver) verified(op *operation, before, r *cache.Record) {
	if before == nil || !before.IsObservedHit() || r.Again == nil {
		return
	}
	if r.Again.Same {
		return
	}
	what := r.Again.Changes
	if what == "" {
		what = "its files differ"
	}
	s.warn(fmt.Sprintf("%s: read nothing that has changed, and gave another result all the same (%s): it goes by a time, a download or chance; leave it out with --observe=off:STEP", op.vertex.Name, what))
}
