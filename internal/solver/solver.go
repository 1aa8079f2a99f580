// Package solver turns the stages of a Dockerfile into states. For each step it makes the key, looks it up,
// and either takes the recorded layer or runs the step; docs/solver.md tells why that is enough.
package solver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/strata-build/strata/internal/buildcontext"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/dockerfile"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/runner"
	"github.com/strata-build/strata/internal/store"
)

// Reporter is told what becomes of each step. With the graph engine its methods are called from several
// goroutines, those of one step in the order in which they stand here.
type Reporter interface {
	// StartStage says that a stage's base is looked up. It is not called for FROM scratch and FROM a stage.
	StartStage(s *dockerfile.Stage)
	// DoneStage gives the state that a stage starts from, an error where it could not be had.
	DoneStage(s *dockerfile.Stage, st *State, err error)
	// Start says that a step is next.
	Start(s *dockerfile.Step)
	// Running says that nothing was recorded, and the step runs now.
	Running(s *dockerfile.Step)
	// Output passes on what a RUN prints: stream 1 is stdout, 2 stderr.
	Output(s *dockerfile.Step, stream int, data []byte)
	// Done gives the step's result. record is what it came from, nil for a step that needs none; ran says that
	// it ran just now.
	Done(s *dockerfile.Step, st *State, record *cache.Record, ran bool)
	// Failed ends a step with its error.
	Failed(s *dockerfile.Step, err error)
}

// Solver solves one build.
type Solver struct {
	Store    *store.Store
	Engine   dockerfile.Engine
	Platform ocispec.Platform
	// Context is what COPY and ADD see.
	Context layer.Tree
	// Reopen gives the context anew for a step that failed because a file of it changed under its hands; nil
	// if that cannot be.
	Reopen func() (*buildcontext.Context, error)
	// Image finds the image of a FROM or a COPY --from by its reference. It is called once for each.
	Image func(ctx context.Context, ref string) (*State, error)
	// NoCache runs every step, NoCacheFilter those that it has.
	NoCache       bool
	NoCacheFilter *dockerfile.Selection
	// Refresh runs steps again whose records are too old; nil runs none.
	Refresh *Refresh
	// Sources are caches from elsewhere, asked in their order when this machine has no record.
	Sources []*cache.Source
	// NoInline leaves the cache out of the images' configs.
	NoInline bool
	// Network is what a RUN sees, unless it says something else itself.
	Network runner.Network
	Report  Reporter
	// Inputs, if not nil, is told what a step's result depends on, before the step is looked up: once, or again
	// where a file of the context changed meanwhile.
	Inputs func(*dockerfile.Step, *Inputs)
	// Refused, if not nil, is told of each image among the sources that has something in a step's place which could
	// not be taken.
	Refused func(*dockerfile.Step, Refusal)
	// Warn, if not nil, is told of what went wrong without failing the build.
	Warn func(line string)

	mu     sync.Mutex
	stages map[*dockerfile.Stage]*promise
	images map[string]*promise
	fresh  map[digest.Digest]bool         // keys that this build ran itself
	taken  map[digest.Digest]cache.Record // by layer, what this build took instead of running it
	lost   map[digest.Digest]bool         // layers that cannot be had any more
}

// promise is a state that somebody may be making.
type promise struct {
	once  sync.Once
	state *State
	err   error
}

// StepError is a RUN that ended with an exit code other than zero.
type StepError struct {
	Args     []string
	ExitCode int
	// State is the step ID of what the step left when it failed, its file changes included; "" if that
	// could not be kept.
	State digest.Digest
	// Cause is why the process could not be run at all, nil where it ran.
	Cause error
}

func (e *StepError) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("process %q could not be run: %v", joinArgs(e.Args), e.Cause)
	}
	return fmt.Sprintf("process %q did not complete successfully: exit code: %d", joinArgs(e.Args), e.ExitCode)
}

func (e *StepError) Unwrap() error { return e.Cause }

// solve is one round of Solve.
func (s *Solver) solve(ctx context.Context, plan *dockerfile.Plan) (*State, error) {
	s.stages = map[*dockerfile.Stage]*promise{}
	s.images = map[string]*promise{}
	for _, st := range plan.Stages {
		s.stages[st] = &promise{}
	}
	if s.Engine == dockerfile.Classic {
		for _, st := range plan.Stages {
			if _, err := s.stage(ctx, st); err != nil {
				return nil, err
			}
		}
	} else {
		g, ctx := errgroup.WithContext(ctx)
		for _, st := range plan.Stages {
			g.Go(func() error {
				_, err := s.stage(ctx, st)
				if _, again := s.recovers(err); again {
					return nil // other stages go on: what they do now is done in the next round
				}
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
	}
	return s.stage(ctx, plan.Target)
}

// stage gives the state at the end of a stage; whoever asks first makes it. A stage that only an ONBUILD
// trigger copies from is not in the plan, and made here.
func (s *Solver) stage(ctx context.Context, stage *dockerfile.Stage) (*State, error) {
	s.mu.Lock()
	p := s.stages[stage]
	if p == nil {
		p = &promise{}
		s.stages[stage] = p
	}
	s.mu.Unlock()
	p.once.Do(func() { p.state, p.err = s.solveStage(ctx, stage) })
	return p.state, p.err
}

func (s *Solver) image(ctx context.Context, ref string) (*State, error) {
	s.mu.Lock()
	p := s.images[ref]
	if p == nil {
		p = &promise{}
		s.images[ref] = p
	}
	s.mu.Unlock()
	p.once.Do(func() { p.state, p.err = s.Image(ctx, ref) })
	return p.state, p.err
}

func (s *Solver) base(ctx context.Context, b dockerfile.Base) (*State, error) {
	switch {
	case b.Stage != nil:
		return s.stage(ctx, b.Stage)
	case b.Scratch:
		return Scratch(s.Store, s.Platform), nil
	}
	return s.image(ctx, b.Image)
}

func (s *Solver) solveStage(ctx context.Context, stage *dockerfile.Stage) (*State, error) {
	s.Report.StartStage(stage)
	state, err := s.base(ctx, stage.Base)
	if err == nil && stage.Base.Scratch {
		state, err = s.beginScratch(ctx, state)
	}
	if err != nil && ctx.Err() != nil {
		err = context.Canceled
	} else if err != nil && stage.Base.Image != "" {
		err = stage.Err(err)
	}
	s.Report.DoneStage(stage, state, err)
	if err != nil {
		return nil, err
	}
	walk, err := stage.Walk(state.Config.Config)
	if err != nil {
		return nil, err
	}
	for {
		step, err := walk.Next()
		if errors.Is(err, io.EOF) {
			return s.finish(state, walk)
		}
		if err != nil {
			return nil, err
		}
		if step.Copy != nil && step.Copy.FromStage != nil {
			// The wait for another stage is not part of the step.
			if _, err := s.stage(ctx, step.Copy.FromStage); err != nil {
				return nil, err
			}
		}
		s.Report.Start(step)
		next, record, ran, err := s.solveStep(ctx, state, step, s.Context)
		if errors.Is(err, buildcontext.ErrChanged) && s.Reopen != nil {
			next, record, ran, err = s.solveAgain(ctx, state, step)
		}
		if err != nil {
			// Whatever a step says that was stopped, because the person or another stage's failure stopped
			// the build: that is not its own error.
			if ctx.Err() != nil {
				err = context.Canceled
			} else {
				err = step.Err(err)
			}
			if _, again := s.recovers(err); again {
				s.Report.Failed(step, context.Canceled)
			} else {
				s.Report.Failed(step, err)
			}
			return nil, err
		}
		next.root, next.past = state.root, append(slices.Clip(state.past), step)
		s.Report.Done(step, next, record, ran)
		state = next
	}
}

// solveAgain solves a step with a new look at the context, since somebody wrote to it while it was read.
func (s *Solver) solveAgain(ctx context.Context, state *State, step *dockerfile.Step) (*State, *cache.Record, bool, error) {
	fresh, err := s.Reopen()
	if err != nil {
		return nil, nil, false, err
	}
	defer fresh.Close()
	return s.solveStep(ctx, state, step, fresh)
}

// finish gives the state at the end of a stage, whose config may have --labels that no step set.
func (s *Solver) finish(state *State, walk *dockerfile.Walk) (*State, error) {
	c := image.Clone(state.Config)
	c.Config = walk.Config()
	before, err := image.Encode(state.Config)
	if err != nil {
		return nil, err
	}
	after, err := image.Encode(c)
	if err != nil || state.ID != "" && bytes.Equal(before, after) {
		return state, err
	}
	last, err := s.put(state, c, store.Step)
	if err == nil {
		last.root, last.past = state.root, state.past
		s.follows(last, state, nil, nil)
	}
	return last, err
}

// beginScratch gives FROM scratch a time, which it remembers so that rows which only change the
// configuration have the same time, and hence the same step ID, in every build.
func (s *Solver) beginScratch(ctx context.Context, state *State) (*State, error) {
	key := &cache.Key{Kind: "FROM scratch"}
	release, err := s.Store.Lock(ctx, key.Digest().Encoded())
	if err != nil {
		return nil, err
	}
	defer release()
	r, err := cache.Lookup(s.Store, key)
	if err != nil {
		return nil, err
	}
	if r == nil {
		r = &cache.Record{Created: time.Now().UTC(), Instruction: "FROM scratch"}
		if err := cache.Save(s.Store, key, r); err != nil {
			return nil, err
		}
	}
	c := *state.Config
	c.Created = &r.Created
	return newState(s.Store, "", &c), nil
}

// operation is a step that touches files, ready to be looked up.
type operation struct {
	key *cache.Key
	// shared is the key by which caches from elsewhere know the step: the graph engine's, in both engines. nil for
	// a step of the classic engine that only changes the configuration.
	shared *cache.Key
	// content is what the step reads, as classic history rows name it: "file:<hex>".
	content string
	matches []buildcontext.Match // what a COPY or ADD selected
	// selected is the record of what a COPY --from selected.
	selected *cache.Step
	// draft says what a COPY, ADD or WORKDIR would make, without writing it; nil for other steps.
	draft func(ctx context.Context) (*copier, error)
	// run makes the layer; "" says that no file changed.
	run func(ctx context.Context) (digest.Digest, error)
}

// solveStep gives the state after step, which record tells of, nil for a step that needs none. files are
// what a COPY or ADD sees of the context.
func (s *Solver) solveStep(ctx context.Context, parent *State, step *dockerfile.Step, files layer.Tree) (next *State, record *cache.Record, ran bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, false, context.Cause(ctx)
	}
	var op *operation
	switch {
	case step.Run != nil:
		op, err = s.runOperation(parent, step)
	case step.Copy != nil:
		op, err = s.copyOperation(ctx, parent, step, files)
	case step.Workdir != nil:
		op, err = s.workdirOperation(parent, step)
	case s.Engine == dockerfile.Classic:
		op = &operation{key: &cache.Key{Kind: "configuration"}, run: noChange}
	default:
		if next, err = s.commit(parent, step, nil, nil); err == nil {
			s.follows(next, parent, nil, nil)
		}
		return next, nil, false, err
	}
	if err != nil {
		return nil, nil, false, err
	}
	s.addParent(op, parent, step)
	s.tell(step, op, parent, s.forced(step))
	record, ran, err = s.lookupOrRun(ctx, parent, step, op)
	if err != nil {
		return nil, nil, ran, err
	}
	if !ran {
		s.took(record)
	}
	if next, err = s.commit(parent, step, op, record); err == nil {
		s.follows(next, parent, op, record)
	}
	return next, record, ran, err
}

func noChange(context.Context) (digest.Digest, error) { return "", nil }

// addParent makes the state that the step starts from a part of the key. The graph engine takes its
// files only; what matters of the configuration is among the parts already. For the classic engine the
// position counts, that is all that came before (lesson 2.5), and the step ID stands for it.
func (s *Solver) addParent(op *operation, parent *State, step *dockerfile.Step) {
	op.key.Add("platform", s.Platform.OS+"/"+s.Platform.Architecture)
	if step.Run != nil || step.Copy != nil || step.Workdir != nil {
		op.shared = &cache.Key{Kind: op.key.Kind, Parts: slices.Clone(op.key.Parts)}
		op.shared.Add("chain", chainPart(parent))
	}
	if s.Engine != dockerfile.Classic {
		op.key.Add("chain", string(image.ChainID(parent.Chain())))
		return
	}
	if step.Run != nil {
		// What the step does in them is not in its layer: another result than the graph engine's.
		op.shared.Add("volume", slices.Sorted(maps.Keys(parent.Config.Config.Volumes))...)
	}
	op.key.Add("instruction", step.CreatedBy(""))
	op.key.Add("after", string(parent.ID))
}

// chainPart is the chainID of a state as the shared key has it: without its empty layers, which the classic engine
// does not make. The key of this machine counts them, so that a step that changes nothing runs each time that
// it stands in a Dockerfile.
func chainPart(st *State) string {
	chain := slices.DeleteFunc(slices.Clone(st.Chain()), func(d digest.Digest) bool { return d == layer.EmptyDiffID })
	return string(image.ChainID(chain))
}

// lookupOrRun takes the record of the operation or makes it. Of builds that run at the same time only one
// runs it.
func (s *Solver) lookupOrRun(ctx context.Context, parent *State, step *dockerfile.Step, op *operation) (r *cache.Record, ran bool, err error) {
	uncached := s.forced(step) != ""
	r, err = s.lookup(step, op.key)
	if err != nil || r != nil && !uncached && !s.stale(step, r) {
		return r, false, err
	}
	release, err := s.Store.Lock(ctx, op.key.Digest().Encoded())
	if err != nil {
		return nil, false, err
	}
	defer release()
	before, err := s.lookup(step, op.key)
	if err != nil || before != nil && s.isFresh(op.key) {
		return before, false, err
	}
	if before == nil && !uncached {
		if before, err = s.fromElsewhere(ctx, parent, step, op); err != nil {
			return nil, false, err
		}
	}
	if before != nil && !uncached {
		if !s.stale(step, before) {
			return before, false, nil
		}
		s.tell(step, op, parent, "--refresh")
	}
	s.Report.Running(step)
	began := time.Now()
	made, err := op.run(ctx)
	if err != nil {
		return nil, true, err
	}
	r = &cache.Record{
		Layer: made, Created: time.Now().UTC(), Took: time.Since(began), Instruction: step.Text, Fetches: s.fetches(step),
	}
	if before != nil {
		if err := s.settle(ctx, before, r); err != nil {
			return nil, true, err
		}
	}
	if err := cache.Save(s.Store, op.key, r); err != nil {
		return nil, true, err
	}
	s.mu.Lock()
	s.fresh[op.key.Digest()] = true
	s.mu.Unlock()
	return r, true, nil
}

// isFresh says that this build ran the step with this key itself: two stages that begin alike run what they
// share once, with --no-cache too.
func (s *Solver) isFresh(key *cache.Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fresh[key.Digest()]
}

// commit gives the state after a step its config and step ID, and keeps it in the store. record is what the
// step gave, nil for a step that only changes the configuration; the time of its row is then the parent's.
func (s *Solver) commit(parent *State, step *dockerfile.Step, op *operation, record *cache.Record) (*State, error) {
	row := image.History{Created: parent.created()}
	diffID := digest.Digest("")
	if record != nil {
		row.Created, diffID = &record.Created, record.Layer
		row.CreatedBy = step.CreatedBy(op.content)
	} else {
		row.CreatedBy = step.CreatedBy("")
	}
	if row.CreatedBy == "" && diffID == "" {
		c := image.Clone(parent.Config)
		c.Config = step.Config
		return s.put(parent, c, store.Step)
	}
	c := s.after(parent, step, row, diffID)
	if record != nil && op.shared != nil && !s.NoInline {
		c.Cached = append(slices.Clip(parent.Config.Cached), image.CachedRow{
			Row: len(c.History) - 1, Key: op.shared.Digest(), MS: record.Took.Milliseconds(),
		})
	}
	return s.put(parent, c, store.Step)
}

// after is the config of the state after a step. The author is in every row of the classic engine, and no
// longer that of the base image (moby, image.NewChildImage); BuildKit has it in the config only, and keeps it.
func (s *Solver) after(parent *State, step *dockerfile.Step, row image.History, diffID digest.Digest) *image.Config {
	if s.Engine == dockerfile.Classic {
		row.Author = step.Author
	} else if row.Comment == "" {
		row.Comment = image.BuildKitComment
	}
	c := image.Add(parent.Config, step.Config, row, diffID)
	if s.Engine == dockerfile.Classic || step.Author != "" {
		c.Author = step.Author
	}
	return c
}

func (s *Solver) put(parent *State, c *image.Config, kind store.Kind) (*State, error) {
	data, err := image.Encode(c)
	if err != nil {
		return nil, err
	}
	id, err := s.Store.PutConfig(data, parent.ID, kind)
	if err != nil {
		return nil, err
	}
	return newState(s.Store, id, c), nil
}
