package explain

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/store"
)

// Journal is a sink that writes down what becomes of each step, and why those that run do. It passes everything on,
// with a Reason event beside each step that runs.
//
// Its lock is held only to read and write what the build consists of. Reasons are looked up in the store, and layers
// are opened for them, on a copy of that and without the lock.
type Journal struct {
	ctx   context.Context // of the build: events have none
	store *store.Store
	next  event.Sink
	past  *history
	live  *live
	mask  Mask

	mu      sync.Mutex // of all below
	build   *Build
	stages  map[event.StageID]*Stage
	steps   map[*event.Vertex]*entry
	summary []string
	logs    map[*Step]*Log              // of the steps that ended
	others  map[*event.Vertex]*recorder // of what is no step, and prints something
}

// entry is a step under way.
type entry struct {
	miss     Miss
	started  time.Time // when it began to run
	recorder *recorder // of what it prints, nil until it does
}

// NewJournal returns a journal of b, whose stages are filled in while it goes on, that passes events on to next. What
// steps print is kept as mask leaves it. The caller does not touch b before Close.
func NewJournal(ctx context.Context, s *store.Store, b *Build, mask Mask, next event.Sink) *Journal {
	j := &Journal{
		ctx: ctx, store: s, next: next, past: &history{}, build: b, mask: mask,
		stages: map[event.StageID]*Stage{}, steps: map[*event.Vertex]*entry{}, logs: map[*Step]*Log{},
		others: map[*event.Vertex]*recorder{},
	}
	j.live = newLive(s, j.snapshot)
	return j
}

// now is the time since the build began, in milliseconds; at least 1, for 0 is no time.
func (j *Journal) now() int64 { return max(1, time.Since(j.build.Started).Milliseconds()) }

// snapshot is the build as it is at the moment, which nobody changes.
func (j *Journal) snapshot() *Build {
	j.mu.Lock()
	defer j.mu.Unlock()
	b := j.copy()
	b.Took = j.now()
	for _, st := range b.Stages {
		for _, s := range st.Steps {
			switch {
			case s.Span.Ended > 0:
			case s.Span.Ran > 0:
				s.Status = Running
			default:
				s.Status = Waiting
			}
		}
	}
	b.Count()
	return b
}

// Send implements event.Sink.
func (j *Journal) Send(e event.Event) {
	switch e := e.(type) {
	case event.Planned:
		j.plan(e)
	case event.Started:
		j.start(e.Vertex)
	case event.LookedUp:
		j.lookUp(e)
	case event.Rejected:
		j.reject(e)
	case event.ReadChanged:
		j.readChanged(e)
	case event.Running:
		j.run(e)
		return
	case event.Executing:
		j.mu.Lock()
		j.begin(e.Vertex)
		j.mu.Unlock()
	case event.Output:
		j.print(e)
	case event.Finished:
		j.finish(e)
	}
	j.live.changed()
	j.next.Send(e)
}

// begin notes that a step runs from now on. j.mu is held.
func (j *Journal) begin(v *event.Vertex) {
	entry := j.steps[v]
	entry.started, entry.miss.Step.Span.Ran = time.Now(), j.now()
}

// print takes what a step printed.
func (j *Journal) print(e event.Output) {
	j.mu.Lock()
	defer j.mu.Unlock()
	entry := j.steps[e.Vertex]
	if entry == nil {
		if j.others[e.Vertex] == nil {
			j.others[e.Vertex] = &recorder{mask: j.mask, show: func(text []byte) { j.live.print(e.Vertex.Name, text) }}
		}
		j.others[e.Vertex].write(e.Data)
		return
	}
	if entry.recorder == nil {
		label := j.build.Label(entry.miss.Stage, entry.miss.Step)
		entry.recorder = &recorder{mask: j.mask, show: func(text []byte) { j.live.print(label, text) }}
	}
	entry.recorder.write(e.Data)
}

// keepLog keeps what a step printed, once it has ended. j.mu is held.
func (j *Journal) keepLog(entry *entry) {
	if entry.recorder == nil {
		return
	}
	if l := entry.recorder.log(); l != nil {
		j.logs[entry.miss.Step] = l
		fit(slices.Collect(maps.Values(j.logs)))
	}
	entry.recorder = nil
}

// printedLogs are the logs of the build's steps, in their order. j.mu is held.
func (j *Journal) printedLogs() []*Log {
	var all []*Log
	at := 0
	for _, st := range j.build.Stages {
		for _, s := range st.Steps {
			if l := j.logs[s]; l != nil {
				l.Step = at
				all = append(all, l)
			}
			at++
		}
	}
	return all
}

func (j *Journal) plan(e event.Planned) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.build.Positions = max(j.build.Positions, e.Positions)
	for _, s := range e.Stages {
		j.stage(s)
	}
}

// stage is the build's stage, which is new if no plan has it: one that only a trigger copies from. j.mu is held.
func (j *Journal) stage(s *event.Stage) *Stage {
	st := j.stages[s.StageID]
	if st == nil {
		st = newStage(s)
		j.stages[s.StageID] = st
		j.build.Stages = append(j.build.Stages, st)
	}
	return st
}

func (j *Journal) start(v *event.Vertex) {
	if !v.Kind.IsStep() {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	st, step := j.stage(v.Stage), newStep(v)
	step.Span.Began = j.now()
	st.Steps = append(st.Steps, step)
	j.steps[v] = &entry{miss: Miss{Stage: st, Step: step, Instruction: v.Text}}
}

func (j *Journal) lookUp(e event.LookedUp) {
	j.mu.Lock()
	defer j.mu.Unlock()
	m := &j.steps[e.Vertex].miss
	m.Key, m.Forced, m.BuildArgs, m.Mounts, m.Copied = e.Key, e.Forced, e.BuildArgs, e.Mounts, e.Copied
	m.Read = ""
	m.Rejected = nil // of a look-up before, if a file of the context changed meanwhile
	m.Step.Key = e.Key.Digest()
}

func (j *Journal) reject(e event.Rejected) {
	j.mu.Lock()
	defer j.mu.Unlock()
	m := &j.steps[e.Vertex].miss
	m.Rejected = append(m.Rejected, e.Source+": "+e.Reason)
}

func (j *Journal) readChanged(e event.ReadChanged) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.steps[e.Vertex].miss.Read = e.Text
}

// run finds out why a step runs.
func (j *Journal) run(e event.Running) {
	x, m := j.question(e.Vertex)
	reasons := x.Reasons(j.ctx, m)
	j.mu.Lock()
	entry := j.steps[e.Vertex]
	entry.miss.near, entry.miss.Step.Reasons = m.near, reasons
	j.begin(e.Vertex)
	j.mu.Unlock()
	j.live.changed()
	j.next.Send(e)
	// Which files of a COPY changed is known when they are copied.
	if line := Line(reasons); line != "" && !slices.ContainsFunc(reasons, isFiles) && !j.past.first(reasons) {
		j.next.Send(event.Reason{Vertex: e.Vertex, Text: line})
	}
}

// first says that there is nothing to compare with, since nothing like this was built before: that a step runs then
// needs no reason.
func (h *history) first(reasons []Reason) bool {
	return len(h.past) == 0 && len(reasons) == 1 && reasons[0].Kind == New
}

// question is what is known of a step and of the build at this moment. Nobody changes it.
func (j *Journal) question(v *event.Vertex) (*Explainer, *Miss) {
	j.mu.Lock()
	defer j.mu.Unlock()
	m := j.steps[v].miss
	b := j.copy()
	for i, live := range j.build.Stages {
		if live != m.Stage {
			continue
		}
		m.Stage = b.Stages[i]
		if k := slices.Index(live.Steps, m.Step); k >= 0 {
			m.Step = m.Stage.Steps[k]
		}
	}
	m.Rejected = slices.Clone(m.Rejected)
	return &Explainer{store: j.store, build: b, history: j.past}, &m
}

// Build is the build as it is at this moment, in a copy.
func (j *Journal) Build() *Build {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.copy()
}

// copy is the build as it is. j.mu is held.
func (j *Journal) copy() *Build {
	b := *j.build
	b.Stages = make([]*Stage, len(j.build.Stages))
	for i, live := range j.build.Stages {
		st := *live
		st.Steps = make([]*Step, len(live.Steps))
		for k, s := range live.Steps {
			c := *s
			st.Steps[k] = &c
		}
		b.Stages[i] = &st
	}
	return &b
}

// endOther shows the last line of what is no step, of which nothing is kept.
func (j *Journal) endOther(v *event.Vertex) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if r := j.others[v]; r != nil {
		r.log()
		delete(j.others, v)
	}
}

func (j *Journal) finish(e event.Finished) {
	j.endOther(e.Vertex)
	switch {
	case e.Vertex.Kind == event.From:
		j.finishFrom(e)
	case e.Vertex.Kind.IsStep():
		j.finishStep(e)
		if e.Status == event.Done && e.Vertex.Kind == event.Copy {
			j.nameFiles(e)
		}
		j.summarize(e)
	}
}

func (j *Journal) finishFrom(e event.Finished) {
	if e.Status != event.Cached && e.Status != event.Done {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	st := j.stage(e.Vertex.Stage)
	st.Steps = nil // of a round before, whose layers turned out to be unavailable
	if e.Vertex.Stage.Image {
		st.Base = e.State
	}
	st.Chain = e.Chain
}

func (j *Journal) finishStep(e event.Finished) {
	j.mu.Lock()
	defer j.mu.Unlock()
	entry := j.steps[e.Vertex]
	j.keepLog(entry)
	step := entry.miss.Step
	step.State, step.Status, step.Span.Ended = e.State, statusOf(e.Status), j.now()
	if r := e.Record; r != nil {
		step.Layer, step.Made, step.Took, step.Origin, step.Fetches = r.Layer, r.Created, r.Took.Milliseconds(), r.Origin, r.Fetches
		if r.Fetches != "" && r.Reached != nil {
			step.Source = r.Source()
		}
		if r.Elsewhere != nil {
			step.Host, step.Waited = r.Elsewhere.Host, r.Elsewhere.Waited.Milliseconds()
		}
		if e.Status == event.Cached && r.IsObservedHit() {
			step.Read = r.Observed.String()
		}
	}
	if (step.Status == Failed || step.Status == Canceled) && !entry.started.IsZero() {
		step.Took = time.Since(entry.started).Milliseconds()
	}
}

func statusOf(s event.Status) Status {
	switch s {
	case event.Configured:
		return Config
	case event.Done:
		return Ran
	case event.Failed:
		return Failed
	case event.Canceled:
		return Canceled
	}
	return Hit
}

// nameFiles names the files for which a COPY or ADD ran again, once its new layer is there.
func (j *Journal) nameFiles(e event.Finished) {
	x, m := j.question(e.Vertex)
	reasons, ok := x.nameFiles(j.ctx, m, e.Record.Layer)
	if !ok {
		return
	}
	j.mu.Lock()
	j.steps[e.Vertex].miss.Step.Reasons = reasons
	j.mu.Unlock()
	j.next.Send(event.Reason{Vertex: e.Vertex, Text: Line(reasons)})
}

// maxName is how many characters of a step's name stand in the summary.
const maxName = 72

// summarize remembers what is to be said at the end: what came of the steps that ran again and, for the classic engine,
// whose output has no place beside a step, which cached ones fetched.
func (j *Journal) summarize(e event.Finished) {
	j.mu.Lock()
	defer j.mu.Unlock()
	lines := dialect.Of(j.build.Engine).Output.StepLines
	text := e.Remark()
	if text == "" || e.Status == event.Cached && !lines {
		return
	}
	name := e.Vertex.Name
	if lines {
		name = fmt.Sprintf("Step %d/%d : %s", e.Vertex.Position, j.build.Positions, e.Vertex.Text)
	}
	if r := []rune(name); len(r) > maxName {
		name = string(r[:maxName-1]) + "…"
	}
	j.summary = append(j.summary, name+": "+text)
}

// Close ends the journal once no more events come, and keeps the build. image is what it gave, failure why it failed.
// What could not be kept costs an explanation, not the build. The summary is what remains to be said, line by line.
func (j *Journal) Close(image digest.Digest, failure error) (b *Build, summary []string) {
	j.live.close()
	j.mu.Lock()
	for _, entry := range j.steps {
		j.keepLog(entry) // of a build that was ended
	}
	b, summary = j.build, j.summary
	logs := j.printedLogs()
	j.mu.Unlock()
	b.Took = time.Since(b.Started).Milliseconds()
	b.Image = image
	if failure != nil {
		b.Fail(failure)
	}
	b.Count()
	if err := Save(j.store, b, logs); err != nil {
		j.next.Send(event.Warning{Text: err.Error()})
	}
	// Without this the cache forgets in another order, no more.
	if err := j.store.Use(b.keys()...); err != nil {
		j.next.Send(event.Warning{Text: err.Error()})
	}
	return b, summary
}

// keys are those of all steps, whose records the build used.
func (b *Build) keys() []digest.Digest {
	var keys []digest.Digest
	for _, st := range b.Stages {
		for _, step := range st.Steps {
			if step.Key != "" {
				keys = append(keys, step.Key)
			}
		}
	}
	return keys
}
