package solver

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/copier"
	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/exec"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/local"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/selection"
	"github.com/strata-build/strata/internal/store"
)

// operation is a step that touches files, ready to be looked up.
type operation struct {
	vertex *event.Vertex // of the step
	keys
	whole *keys // those that it has on whole layers, where it looks at some that can be read in parts; nil otherwise
	lazy  bool  // one of these is not here
	// content is what the step reads, as classic history rows name it: "file:<hex>".
	content string
	matches []selection.Match    // what a COPY or ADD selected
	remote  []event.RemoteSource // the remote sources of an ADD, see copier.Describe
	// link says that what the step makes does not depend on the state that it starts from: COPY --link.
	link   bool
	mounts []*exec.Mount // of a RUN, those that count by content
	// selected are the records of what a COPY --from or mounts of a RUN selected.
	selected []cache.Step
	from     *State // that a COPY copies from, nil for none
	// below is what a COPY, ADD or WORKDIR sees of the state that it is laid on; its weak key is that of the state.
	below *layer.Partial
	// draft says what a COPY, ADD or WORKDIR would make, without writing it; nil for other steps.
	draft func(ctx context.Context) (*copier.Draft, error)
	making
}

// making is how the layer of an operation is made.
type making struct {
	// prepare brings the layers here that run needs, nil where it needs none.
	prepare func(ctx context.Context) error
	// run makes the layer.
	run func(ctx context.Context) (exec.Made, error)
	// elsewhere has another machine make the layer, and needs no layers here; exec.ErrHere where run has to make it.
	// nil where nothing runs elsewhere.
	elsewhere func(ctx context.Context) (exec.Made, error)
	// again says that it is to be made whatever other machines have made of it.
	again bool
	// claim is what shows the machines that wait for the step what it prints; nil where none can.
	claim cache.Claim
}

// observe says by their place in the parent's chain which layers a RUN is observed on; nil for what is not observed.
func (op *operation) observe() []bool {
	if op.observation == nil {
		return nil
	}
	return op.observation.Layers
}

// solveStep gives the state after step, which record tells of, nil for a step that needs none. files are
// what a COPY or ADD sees of the context.
func (s *Solver) solveStep(ctx context.Context, parent *State, step *dockerfile.Step, v *event.Vertex, files layer.Tree) (next *State, record *cache.Record, ran bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, false, context.Cause(ctx)
	}
	var op *operation
	switch {
	case step.Run != nil:
		op, err = s.runOperation(ctx, parent, step, files)
	case step.Copy != nil:
		op, err = s.copyOperation(ctx, parent, step, files)
	case step.Workdir != nil:
		op, err = s.workdirOperation(parent, step)
	case s.config.Dialect.Steps.KeyedByPosition:
		op = &operation{keys: keys{key: &cache.Key{Kind: cache.KindConfiguration}}, making: making{run: noChange}}
	default:
		if next, err = s.commit(parent, step, nil, nil); err == nil {
			s.follows(next, parent, nil, nil)
		}
		return next, nil, false, err
	}
	if err != nil {
		return nil, nil, false, err
	}
	op.vertex = v
	s.addParent(op, parent, step)
	s.addObserved(op, parent, step)
	if err := s.setApart(op, parent); err != nil {
		return nil, nil, false, err
	}
	s.events.Send(lookedUp(step, op, s.forced(step)))
	record, ran, err = s.lookupOrRun(ctx, parent, step, op)
	if err != nil {
		return nil, nil, ran, err
	}
	if !ran {
		s.use(record)
	}
	if next, err = s.commit(parent, step, op, record); err == nil {
		s.follows(next, parent, op, record)
	}
	return next, record, ran, err
}

func noChange(context.Context) (exec.Made, error) { return exec.Made{}, nil }

// addParent makes the state that the step starts from a part of the key. The graph engine takes its
// files only; what matters of the configuration is among the parts already. For the classic engine the
// position counts, that is all that came before (lesson 2.5), and the step ID stands for it.
func (s *Solver) addParent(op *operation, parent *State, step *dockerfile.Step) {
	op.key.Add(cache.PartPlatform, platform.Format(step.Stage.Platform))
	if step.Run != nil || step.Copy != nil || step.Workdir != nil {
		op.shared = &cache.Key{Kind: op.key.Kind, Parts: slices.Clone(op.key.Parts)}
		if !op.link {
			op.shared.Add(cache.PartChain, string(parent.chain().shared))
		}
	}
	if op.link {
		return
	}
	if !s.config.Dialect.Steps.KeyedByPosition {
		op.key.Add(cache.PartChain, string(parent.chain().id))
		return
	}
	if step.Copy != nil && step.Copy.Chown != "" {
		op.shared.Add(cache.PartOwners, "classic") // the rules of --chown are others: see classicOwner and makeParents
	}
	if step.Run != nil {
		// What the step does in them is not in its layer: another result than the graph engine's.
		op.shared.Add(cache.PartVolume, slices.Sorted(maps.Keys(parent.Config.Config.Volumes))...)
	}
	op.key.Add(cache.PartInstruction, step.CreatedBy(""))
	op.key.Add(cache.PartAfter, string(parent.ID))
}

// lookupOrRun takes the record of the operation or makes it. Of builds that run at the same time only one
// runs it.
func (s *Solver) lookupOrRun(ctx context.Context, parent *State, step *dockerfile.Step, op *operation) (r *cache.Record, ran bool, err error) {
	uncached := s.forced(step) != ""
	if op.whole != nil {
		if r, err = s.recordedApart(ctx, parent, step, op); r != nil || err != nil {
			return r, false, err
		}
	}
	r, err = s.lookup(step, op.key)
	if err != nil || r != nil && !uncached && !s.stale(step, r) {
		return r, false, err
	}
	release, err := local.New(s.store).Lease(ctx, op.key.Digest())
	if err != nil {
		return nil, false, err
	}
	defer release()
	before, err := s.lookup(step, op.key)
	if err != nil || before != nil && s.executed.has(op.key) {
		return before, false, err
	}
	if before == nil && !uncached {
		if before, err = s.fromCaches(ctx, parent, step, op); err != nil {
			return nil, false, err
		}
	}
	if before == nil && !uncached {
		if before, err = s.fromObserved(ctx, parent, step, op); err != nil {
			return nil, false, err
		}
	}
	if before != nil && !uncached {
		switch {
		case s.stale(step, before):
			s.events.Send(lookedUp(step, op, "--refresh"))
		case before.IsObservedHit() && s.config.Records.Observe.Verify:
			s.events.Send(lookedUp(step, op, "--observe=verify"))
		default:
			return before, false, nil
		}
	}
	if op.again = before != nil || uncached; op.again {
		r, err = s.runStep(ctx, step, op, before)
		return r, true, err
	}
	return s.runOnce(ctx, parent, step, op)
}

// runStep runs the operation and keeps its record. before is what is recorded of it already, nil for nothing.
func (s *Solver) runStep(ctx context.Context, step *dockerfile.Step, op *operation, before *cache.Record) (*cache.Record, error) {
	s.events.Send(event.Running{Vertex: op.vertex})
	made, err := s.make(ctx, op)
	if err != nil {
		return nil, s.store.Explain(err)
	}
	r := &cache.Record{
		Layer: made.Layer, Created: time.Now().UTC(), Took: made.Took, Instruction: step.Text, Written: step.Written(),
	}
	if made.Host != "" {
		r.Elsewhere = &cache.Elsewhere{Host: made.Host}
	}
	s.noteReached(r, step, made.Network)
	r.Observed = op.observed(ctx, made.Inputs)
	if before != nil {
		if err := s.settle(ctx, before, r); err != nil {
			return nil, err
		}
	}
	s.verified(op, before, r)
	if err := local.SaveObserved(s.store, op.key, r); err != nil {
		return nil, err
	}
	s.executed.add(op.key)
	return r, nil
}

// make has the layer of an operation made, on another machine or here.
func (s *Solver) make(ctx context.Context, op *operation) (exec.Made, error) {
	if op.elsewhere != nil {
		s.events.Send(event.Executing{Vertex: op.vertex})
		made, err := op.elsewhere(ctx)
		if !errors.Is(err, exec.ErrHere) {
			return made, err
		}
	}
	if op.prepare != nil {
		if err := op.prepare(ctx); err != nil {
			return exec.Made{}, err
		}
	}
	s.events.Send(event.Executing{Vertex: op.vertex})
	began := time.Now()
	made, err := op.run(ctx)
	made.Took = time.Since(began)
	return made, err
}

// commit gives the state after a step its config and step ID, and keeps it in the store. record is what the
// step gave, nil for a step that only changes the configuration; the time of its row is then the parent's.
func (s *Solver) commit(parent *State, step *dockerfile.Step, op *operation, record *cache.Record) (*State, error) {
	row := image.History{Created: parent.created()}
	diffID := digest.Digest("")
	if record != nil {
		row.Created, diffID = &record.Created, record.Layer
		s.claim(diffID)
		row.CreatedBy = step.CreatedBy(op.content)
	} else {
		row.CreatedBy = step.CreatedBy("")
	}
	if row.CreatedBy == "" && diffID == "" {
		c := image.Clone(parent.Config)
		c.Config = step.Config
		return s.put(parent, image.Grow(c), store.Step)
	}
	next := s.after(parent, step, row, diffID)
	if record != nil && op.shared != nil && !s.config.Records.NoInline {
		row := image.CachedRow{Row: len(next.Config.History) - 1, Key: op.shared.Digest(), MS: record.Took.Milliseconds()}
		if o := record.Observed; o != nil && s.config.Records.Observe.On {
			row.Weak, row.Inputs = o.Weak, o.Data
		}
		next.AddCached(row)
	}
	return s.put(parent, next, store.Step)
}

// after is the config of the state after a step. The author is in every row of the classic engine, and no
// longer that of the base image (moby, image.NewChildImage); BuildKit has it in the config only, and keeps it.
func (s *Solver) after(parent *State, step *dockerfile.Step, row image.History, diffID digest.Digest) *image.Growing {
	if s.config.Dialect.Steps.ShellRows {
		row.Author = step.Author
	} else if row.Comment == "" {
		row.Comment = image.BuildKitComment
	}
	next := parent.growing.Add(step.Config, row, diffID)
	if s.config.Dialect.Steps.ShellRows || step.Author != "" {
		next.Config.Author = step.Author
	}
	return next
}

func (s *Solver) put(parent *State, c *image.Growing, kind store.Kind) (*State, error) {
	buffer, _ := s.buffers.Get().(*[]byte)
	if buffer == nil {
		buffer = new([]byte)
	}
	defer s.buffers.Put(buffer)
	data, encoded, err := image.AppendAfter((*buffer)[:0], parent.encoded, c.Config)
	if err != nil {
		return nil, err
	}
	*buffer = data
	id, err := s.store.PutConfig(data, parent.ID, kind)
	if err != nil {
		return nil, err
	}
	next := newState(s.store, id, c)
	next.encoded = encoded
	next.follow(parent)
	return next, nil
}
