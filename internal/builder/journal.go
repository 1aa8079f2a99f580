package builder

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/adopt"
	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/explain"
	"github.com/strata-build/strata/internal/builder/solver"
	"github.com/strata-build/strata/internal/builder/source/address"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store"
)

// journal is a Display that writes down what becomes of each step, and why those that run do, and passes everything on.
type journal struct {
	Display
	ctx     context.Context
	store   *store.Store
	build   *explain.Build
	explain *explain.Explainer

	mu     sync.Mutex // of all that the build consists of
	stages map[*dockerfile.Stage]*explain.Stage
	steps  map[*dockerfile.Step]*entry

	image digest.Digest // that the build is remembered by, if it is not the result: of several platforms' images

	summary []string // lines for the end
}

// entry is a step under way.
type entry struct {
	explain.Miss
	started time.Time // when it began to run
}

func newJournal(ctx context.Context, s *store.Store, parts []*part, o Options) *journal {
	b := &explain.Build{
		ID: newBuildID(), Started: time.Now(), Target: o.Target, Engine: o.Engine.Name, Positions: parts[0].plan.Steps,
	}
	b.Context, b.Dockerfile = place(o)
	if o.Engine.File.BuildKitArgs {
		b.Name = o.Args["BUILDKIT_BUILD_NAME"]
	}
	for _, t := range o.Tags {
		b.Tags = append(b.Tags, reference.FamiliarString(t))
	}
	j := &journal{
		Display: o.Display, ctx: ctx, store: s, build: b, explain: explain.NewExplainer(s, b),
		stages: map[*dockerfile.Stage]*explain.Stage{}, steps: map[*dockerfile.Step]*entry{},
	}
	for _, p := range parts {
		for _, st := range p.plan.Stages {
			j.stages[st] = j.explain.Stage(st)
		}
	}
	return j
}

// newBuildID makes the ID of a build: as many digits as a shown image ID.
func newBuildID() string {
	var id [6]byte
	rand.Read(id[:]) // never fails (crypto/rand)
	return hex.EncodeToString(id[:])
}

// place names the context and the Dockerfile, that one by its path in the context where it is there.
func place(o Options) (dir, file string) {
	file = findDockerfile(o)
	if o.Context == "-" {
		return "-", file
	}
	if source, err := address.ParseContext(o.Context); err == nil && source != nil {
		return source.String(), address.Redact(o.Dockerfile)
	}
	dir, err := filepath.Abs(o.Context)
	if err != nil {
		return o.Context, file
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	if file == "-" || isURL(file) {
		return dir, address.Redact(file)
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return dir, file
	}
	if real, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
		abs = filepath.Join(real, filepath.Base(abs))
	}
	if rel, err := filepath.Rel(dir, abs); err == nil && filepath.IsLocal(rel) {
		return dir, rel
	}
	return dir, abs
}

// stage is the journal's of a stage of the plan, or of one that only a trigger copies from. j.mu is held.
func (j *journal) stage(s *dockerfile.Stage) *explain.Stage {
	st := j.stages[s]
	if st == nil {
		st = j.explain.Stage(s)
		j.stages[s] = st
	}
	return st
}

// DoneStage implements solver.Reporter.
func (j *journal) DoneStage(s *dockerfile.Stage, state *solver.State, err error) {
	if err == nil {
		j.mu.Lock()
		st := j.stage(s)
		st.Steps = nil // of a round before, whose layers turned out to be lost
		if s.Base.Image != "" {
			st.Base = state.ID
		}
		st.Chain = image.ChainID(state.Chain())
		j.mu.Unlock()
	}
	j.Display.DoneStage(s, state, err)
}

// Start implements solver.Reporter.
func (j *journal) Start(s *dockerfile.Step) {
	j.mu.Lock()
	st := j.stage(s.Stage)
	step := explain.NewStep(s)
	st.Steps = append(st.Steps, step)
	e := &entry{Miss: explain.Miss{Stage: st, Step: step, Instruction: s.Text, Copy: s.Copy}}
	if s.Run != nil {
		e.BuildArgs = s.Run.BuildArgs
	}
	j.steps[s] = e
	j.mu.Unlock()
	j.Display.Start(s)
}

// inputs is what the solver tells before it looks a step up.
func (j *journal) inputs(s *dockerfile.Step, in *solver.Inputs) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e := j.steps[s]
	e.Key, e.Forced, e.Matches, e.Elsewhere = in.Key, in.Forced, in.Matches, in.Elsewhere
	e.Mounts = nil
	for _, m := range in.Mounts {
		e.Mounts = append(e.Mounts, explain.Mount{Target: m.Target, Source: sourceOf(m), List: m.List})
	}
	e.Refused = nil // of a look-up before, if a file of the context changed meanwhile
	e.Step.Key = in.Key.Digest()
}

// sourceOf names what a mount shows: a path of the context, or of a stage, image or named context, whose
// name is in front.
func sourceOf(m solver.MountInput) string {
	switch {
	case m.From.Stage != nil:
		return m.From.Stage.DisplayName + ":" + m.Source
	case m.From.Image != "":
		return m.From.Image + ":" + m.Source
	case m.From.Named != "":
		return m.From.Named + ":" + m.Source
	}
	return strings.TrimPrefix(m.Source, "/")
}

// refuse is what the solver tells of images that could not give a step.
func (j *journal) refuse(s *dockerfile.Step, r adopt.Rejection) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e := j.steps[s]
	e.Refused = append(e.Refused, r.Source+": "+r.Reason)
}

// Running implements solver.Reporter.
func (j *journal) Running(s *dockerfile.Step) {
	j.mu.Lock()
	e := j.steps[s]
	e.Step.Reasons = j.explain.Reasons(&e.Miss)
	e.started = time.Now()
	line := explain.Line(e.Step.Reasons)
	for _, r := range e.Step.Reasons {
		if r.Kind == explain.Files {
			line = "" // which files is known when they are copied
		}
	}
	j.mu.Unlock()
	j.Display.Running(s)
	if line != "" {
		j.Display.Note(s, line)
	}
}

// Done implements solver.Reporter.
func (j *journal) Done(s *dockerfile.Step, state *solver.State, record *cache.Record, ran bool) {
	j.mu.Lock()
	e := j.steps[s]
	step := e.Step
	step.State = state.ID
	switch {
	case record == nil:
		step.Status = explain.Config
	case ran:
		step.Status = explain.Ran
	default:
		step.Status = explain.Hit
	}
	if record != nil {
		step.Layer, step.Made, step.Took, step.Origin = record.Layer, record.Created, record.Took.Milliseconds(), record.Origin
		step.Fetches = record.Fetches
	}
	j.mu.Unlock()
	if ran && j.explain.Copied(j.ctx, &e.Miss, record.Layer) {
		j.Display.Note(s, explain.Line(step.Reasons))
	}
	j.summarize(s, record, ran)
	j.Display.Done(s, state, record, ran)
}

// Failed implements solver.Reporter.
func (j *journal) Failed(s *dockerfile.Step, err error) {
	j.mu.Lock()
	e := j.steps[s]
	e.Step.Status = explain.Failed
	if isCanceled(err) {
		e.Step.Status = explain.Canceled
	}
	if !e.started.IsZero() {
		e.Step.Took = time.Since(e.started).Milliseconds()
	}
	j.mu.Unlock()
	j.Display.Failed(s, err)
}

// close ends the journal with the build's result, and keeps it. Losing it costs an explanation, not the build.
func (j *journal) close(id digest.Digest, err error) *explain.Build {
	j.mu.Lock()
	defer j.mu.Unlock()
	b := j.build
	b.Took = time.Since(b.Started).Milliseconds()
	if b.Image = id; err == nil && j.image != "" {
		b.Image = j.image
	}
	if err != nil {
		b.Fail(cause(err))
	}
	b.Count()
	if err := explain.Save(j.store, b); err != nil {
		j.Display.Warning(err.Error())
	}
	return b
}
