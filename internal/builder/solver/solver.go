// Package solver turns the stages of a Dockerfile into states. For each step it makes the key, looks it up,
// and either takes the recorded layer or runs the step; docs/solver.md tells why that is enough.
package solver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/exec"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/sandbox/network"
	"github.com/strata-build/strata/internal/sandbox/runner"
	"github.com/strata-build/strata/internal/store"
)

// Solver solves one build.
type Solver struct {
	config   Config
	store    *store.Store
	events   event.Sink
	executed *Executed
	executor func() *exec.Executor
	sharing  *sharing
	buffers  sync.Pool // of *[]byte, for configs as they are written

	mu    sync.Mutex // of all below
	round *round
	used  map[digest.Digest]cache.Record // by layer, what this build took instead of running it
	// unavailable are layers that cannot be had any more.
	unavailable map[digest.Digest]bool
	// damages are how often a layer turned out to be damaged.
	damages map[digest.Digest]int
}

// New makes the solver of a build.
func New(s *store.Store, c Config) *Solver {
	sv := &Solver{
		config: c, store: s, events: event.OrDiscard(c.Events), executed: c.Records.Executed,
		used: map[digest.Digest]cache.Record{}, unavailable: map[digest.Digest]bool{}, damages: map[digest.Digest]int{},
	}
	if sv.executed == nil {
		sv.executed = NewExecuted()
	}
	sv.executor = sync.OnceValue(sv.newExecutor)
	return sv
}

// round is one walk through all stages of a plan.
type round struct {
	plan   *dockerfile.Plan
	stages map[*dockerfile.Stage]*promise
	images map[string]*promise // by platform and reference
}

// begin begins a round.
func (s *Solver) begin(plan *dockerfile.Plan) {
	r := &round{plan: plan, stages: map[*dockerfile.Stage]*promise{}, images: map[string]*promise{}}
	for _, st := range plan.Stages {
		r.stages[st] = &promise{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.round = r
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
	// Shortage says that the store's disk was full then, and what to do about it; "" where it was not.
	Shortage string
	// Network is what the process asked of its network.
	Network network.Report
	// namesMachine says that the step has a network of its own, and names the loopback in what it is given.
	namesMachine bool
}

func (e *StepError) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("process %q could not be run: %v", joinArgs(e.Args), e.Cause)
	}
	return fmt.Sprintf("process %q did not complete successfully: exit code: %d", joinArgs(e.Args), e.ExitCode)
}

func (e *StepError) Unwrap() error { return e.Cause }

// NetworkAdvice says what the step may have lacked on its network, and what to do; "" where that is nothing.
func (e *StepError) NetworkAdvice() string {
	if advice := e.Network.Advice("the step"); advice != "" || !e.namesMachine {
		return advice
	}
	return "the step has a network of its own, whose loopback is not this machine's: " + network.ReachMachine
}

// Advice says what exit codes of a shell mean that people do not know by heart (POSIX, "Shell Command Language",
// 2.8.2), and what to look at; also of a program that is not there. "" for others.
func (e *StepError) Advice() string {
	switch {
	case e.LacksShell():
		return "the image has no /bin/sh to run this with, as FROM scratch has none: copy what the image needs from another stage, " +
			`or run a program that it has in JSON form: RUN ["/app", "ARGUMENT"]`
	case e.lacksProgram() && strings.Contains(e.Args[0], " "):
		return `in JSON form each word is one of its own, and there is no shell: ["sh", "-c", "COMMAND && COMMAND"]`
	case e.lacksProgram():
		return "there is no such program in the image; install it in a step before, or look at PATH"
	case e.Cause != nil:
		return ""
	}
	switch e.ExitCode {
	case 126:
		return "exit code 126: the file cannot be run; it needs chmod +x, as with COPY --chmod=755, and has to be for this platform"
	case 127:
		if last := e.Args[len(e.Args)-1]; strings.HasPrefix(last, "['") || strings.HasPrefix(last, `["`) {
			return `exit code 127: the shell ran this as it is written, since JSON form needs double quotes, and commas between: ["COMMAND", "ARGUMENT"]`
		}
		return "exit code 127: there is no such command in the image; install it in a step before, or look at PATH. " +
			"Of a script that is there, the interpreter in its first line is missing, or that line ends in CRLF"
	case 137:
		return "exit code 137: it was killed, as by the kernel when memory runs out"
	}
	return ""
}

// LacksShell says that the step could not be run since the image has no shell.
func (e *StepError) LacksShell() bool { return e.lacksProgram() && e.Args[0] == "/bin/sh" }

func (e *StepError) lacksProgram() bool {
	return e.Cause != nil && len(e.Args) > 0 && e.ExitCode == runner.ExitNotFound
}

// solve is one round of Solve.
func (s *Solver) solve(ctx context.Context, plan *dockerfile.Plan) (*State, error) {
	s.begin(plan)
	if s.config.Dialect.Steps.StagesInOrder {
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
	p := s.round.stages[stage]
	if p == nil {
		p = &promise{}
		s.round.stages[stage] = p
	}
	s.mu.Unlock()
	p.once.Do(func() { p.state, p.err = s.solveStage(ctx, stage) })
	return p.state, p.err
}

// End is the state at the end of a stage of the plan that was solved; nil of one that the target did not need.
func (s *Solver) End(stage *dockerfile.Stage) *State {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.round.stages[stage]; p != nil {
		return p.state
	}
	return nil
}

// image gives the state that an image is for a platform; whoever asks first looks it up.
func (s *Solver) image(ctx context.Context, ref string, want ocispec.Platform) (*State, error) {
	key := platform.Format(want) + " " + ref
	s.mu.Lock()
	p := s.round.images[key]
	if p == nil {
		p = &promise{}
		s.round.images[key] = p
	}
	s.mu.Unlock()
	p.once.Do(func() { p.state, p.err = s.config.Inputs.Image(ctx, ref, want) })
	return p.state, p.err
}

func (s *Solver) base(ctx context.Context, stage *dockerfile.Stage) (*State, error) {
	b := stage.Base
	switch {
	case b.Stage != nil:
		return s.stage(ctx, b.Stage)
	case b.Empty():
		return Scratch(s.store, stage.Platform), nil
	}
	state, err := s.image(ctx, b.Image, stage.Platform)
	if err == nil {
		stage.LintBase(state.Config.Platform)
	}
	return state, stage.ImageHint(b.Image, err)
}

func (s *Solver) solveStage(ctx context.Context, stage *dockerfile.Stage) (*State, error) {
	shown := stageOf(stage)
	from := fromVertex(stage, shown)
	s.events.Send(event.Started{Vertex: from})
	state, err := s.base(ctx, stage)
	if err == nil && stage.Base.Empty() {
		state, err = s.beginScratch(ctx, state)
	}
	if err != nil && ctx.Err() != nil {
		err = context.Canceled
	} else if err != nil && stage.Base.Image != "" {
		err = stage.Err(err)
	}
	s.events.Send(s.foundBase(from, state, err))
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
			return s.finish(ctx, stage, state, walk)
		}
		if err != nil {
			return nil, err
		}
		for _, from := range step.Stages() {
			// The wait for another stage is not part of the step.
			if _, err := s.stage(ctx, from); err != nil {
				return nil, err
			}
		}
		files, err := s.filesOf(ctx, step) // before the step, as which it is not shown
		vertex := stepVertex(step, shown)
		s.events.Send(event.Started{Vertex: vertex})
		var next *State
		var record *cache.Record
		var ran bool
		if err == nil {
			next, record, ran, err = s.solveOn(ctx, state, step, vertex, files)
		}
		if err != nil {
			// Whatever a step says that was stopped, because the person or another stage's failure stopped
			// the build: that is not its own error.
			if ctx.Err() != nil {
				err = context.Canceled
			} else {
				err = step.Err(err)
			}
			shownErr := err
			if _, again := s.recovers(err); again {
				shownErr = context.Canceled // it is solved again
			}
			s.events.Send(failed(vertex, shownErr))
			return nil, err
		}
		next.root, next.past = state.root, append(slices.Clip(state.past), step)
		next.copied = copiedBy(step, state, next)
		s.events.Send(finished(vertex, next, record, ran))
		state = next
	}
}

// finish gives the state at the end of a stage, whose config may have --labels that no step set, another platform
// than its base and, at the end of the build, the steps of the other stages.
func (s *Solver) finish(ctx context.Context, stage *dockerfile.Stage, state *State, walk *dockerfile.Walk) (*State, error) {
	c := image.Clone(state.Config)
	c.Config = walk.Config()
	target := s.round.plan.Target == stage
	if target && s.config.Target.OS != "" {
		setPlatform(c, s.config.Target)
	}
	if target && !s.config.Records.NoInline {
		if err := s.addStages(ctx, c, state); err != nil {
			return nil, err
		}
	}
	before, encoded, err := image.EncodeAfter(state.encoded, state.Config)
	if err != nil {
		return nil, err
	}
	after, _, err := image.EncodeAfter(encoded, c)
	if err != nil || state.ID != "" && bytes.Equal(before, after) {
		return state, err
	}
	last, err := s.put(state, image.Grow(c), store.Step)
	if err == nil {
		last.root, last.past, last.copied = state.root, state.past, state.copied
		s.follows(last, state, nil, nil)
	}
	return last, err
}

// setPlatform names what an image was asked for as its platform, whatever its base is for, as BuildKit does
// (dockerfile2llb, finalizeImage).
func setPlatform(c *image.Config, p ocispec.Platform) {
	same := c.OS == p.OS && c.Architecture == p.Architecture
	c.OS, c.Architecture = p.OS, p.Architecture
	if p.Variant != "" || !same {
		c.Variant = p.Variant
	}
	if p.OSVersion != "" || !same {
		c.OSVersion = p.OSVersion
	}
}
