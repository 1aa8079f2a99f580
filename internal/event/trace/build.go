package trace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/strata-build/strata/internal/event"
)

// Recorder is a sink that makes spans of a build, below one that the caller has begun and ends:
//
//	strata build                                      the caller's
//	├─ [internal] load build definition from Dockerfile   what belongs to no stage
//	├─ stage build (linux/amd64)
//	│  ├─ [build 1/3] FROM …
//	│  └─ [build 2/3] RUN make
//	│     └─ execute                                  what a step took once all that it needs was there
//	└─ exporting to image
//
// What became of a step, from which record, and why it ran are attributes; docs/telemetry.md lists them.
type Recorder struct {
	root *Span

	mu       sync.Mutex // of all below
	stages   map[event.StageID]*stage
	vertices map[*event.Vertex]*vertex
	counts   map[event.Status]int
}

// stage is the span of a stage, which ends when the build does: until then nobody knows which vertex is its last.
type stage struct {
	span *Span
	last time.Time // when the last of its vertices ended
	err  error     // of the one that failed
}

// vertex is a span under way.
type vertex struct {
	span    *Span
	stage   *stage // nil for what is of none
	began   time.Time
	execute *Span            // nil until it executes
	bytes   map[string]int64 // of each item that was brought or made
}

// Build returns a Recorder of a build below a span; nil where that is.
func Build(below *Span) *Recorder {
	if below == nil {
		return nil
	}
	return &Recorder{
		root: below, stages: map[event.StageID]*stage{}, vertices: map[*event.Vertex]*vertex{}, counts: map[event.Status]int{},
	}
}

// Sink is r after another sink, or that alone where r is nil.
func (r *Recorder) Sink(first event.Sink) event.Sink {
	if r == nil {
		return first
	}
	return event.Tee{first, r}
}

// Send implements event.Sink.
func (r *Recorder) Send(e event.Event) {
	switch e := e.(type) {
	case event.Started:
		r.start(e.Vertex)
		return
	case event.Warning:
		r.root.Event("warning", Attribute{"strata.message", e.Text})
		return
	case event.Built:
		r.root.Set(Attribute{"strata.image.id", e.ID.String()}, Attribute{"strata.image.tags", e.Tags})
		return
	}
	v := r.vertex(event.VertexOf(e))
	if v == nil {
		return
	}
	switch e := e.(type) {
	case event.LookedUp:
		v.span.Event("looked up")
		v.span.Set(Attribute{"strata.key", e.Key.Digest().String()}, Attribute{"strata.forced", e.Forced})
	case event.Rejected:
		v.span.Event("rejected", Attribute{"strata.source", e.Source}, Attribute{"strata.message", e.Reason})
	case event.Running:
		v.span.Event("running")
	case event.Executing:
		r.execute(v)
	case event.Reason:
		v.span.Set(Attribute{"strata.reason", values().ReplaceAllString(e.Text, "…")})
	case event.Progress:
		r.count(v, e)
	case event.Finding:
		v.span.Event("finding", Attribute{"strata.rule", e.Rule}, Attribute{"strata.message", e.Text})
	case event.Finished:
		r.finish(v, e)
	}
}

// values are those that a reason quotes, of build arguments among them.
var values = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`"(?:[^"\\]|\\.)*"`) })

func (r *Recorder) vertex(v *event.Vertex) *vertex {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.vertices[v]
}

// start begins the span of a vertex. A step that only changes the configuration has none: it takes no time, and the value
// of an ENV is nobody's business.
func (r *Recorder) start(e *event.Vertex) {
	if e.Kind == event.Configure {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	v := &vertex{began: time.Now()}
	below := r.root
	attributes := []Attribute{{"strata.kind", string(e.Kind)}}
	if e.Stage != nil {
		v.stage = r.stage(e.Stage)
		below = v.stage.span
		attributes = append(attributes,
			Attribute{"strata.instruction", e.Text}, Attribute{"strata.platform", e.Stage.Platform},
			Attribute{"strata.stage", e.Stage.Name}, Attribute{"code.line.number", e.Line})
		if e.Number > 0 {
			attributes = append(attributes, Attribute{"strata.step", fmt.Sprintf("%d/%d", e.Number, e.Total)})
		}
	}
	v.span = below.Begin(nameOf(e), attributes...)
	r.vertices[e] = v
}

// nameOf is the name of a vertex's span: as progress shows it, but with a step's instruction as written, since progress
// puts the values of build arguments in it.
func nameOf(v *event.Vertex) string {
	place, _, ok := strings.Cut(v.Name, "] ")
	switch {
	case !v.Kind.IsStep():
		return cmp.Or(v.Name, v.Text)
	case ok:
		return place + "] " + v.Text
	}
	return v.Text
}

// stage is the stage's span, which begins with its first vertex. r.mu is held.
func (r *Recorder) stage(s *event.Stage) *stage {
	st := r.stages[s.StageID]
	if st == nil {
		name := strings.TrimSpace("stage " + s.Name)
		st = &stage{span: r.root.Begin(name+" ("+s.Platform+")", Attribute{"strata.stage", s.Name}, Attribute{"strata.platform", s.Platform}, Attribute{"strata.from", s.From})}
		r.stages[s.StageID] = st
	}
	return st
}

func (r *Recorder) execute(v *vertex) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if v.execute != nil {
		return
	}
	v.execute = v.span.Begin("execute")
	v.span.Set(Attribute{"strata.waited.seconds", time.Since(v.began).Seconds()})
}

func (r *Recorder) count(v *vertex, e event.Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if v.bytes == nil {
		v.bytes = map[string]int64{}
	}
	v.bytes[e.Item] = max(v.bytes[e.Item], e.Current)
}

func (r *Recorder) finish(v *vertex, e event.Finished) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	v.span.Set(Attribute{"strata.status", string(e.Status)}, Attribute{"strata.state", e.State.String()})
	if e.Vertex.Kind.IsStep() {
		v.span.Set(Attribute{"strata.cached", e.Status == event.Cached})
		r.counts[e.Status]++
	}
	if record := e.Record; record != nil {
		v.span.Set(
			Attribute{"strata.layer", record.Layer.String()}, Attribute{"strata.origin", record.Origin},
			Attribute{"strata.observed", e.Status == event.Cached && record.IsObservedHit()},
			Attribute{"strata.remark", e.Remark()})
		if other := record.Elsewhere; other != nil {
			v.span.Set(Attribute{"strata.host", other.Host})
		}
	}
	var bytes int64
	for _, n := range v.bytes {
		bytes += n
	}
	if bytes > 0 {
		v.span.Set(Attribute{"strata.bytes", int(bytes)})
	}
	err := e.Err
	if e.Status == event.Failed && err == nil {
		err = errors.New("failed")
	}
	v.execute.endAt(now, err)
	v.span.endAt(now, err)
	if v.stage != nil {
		v.stage.last = now
		if err != nil {
			v.stage.err = err
		}
	}
}

// Close ends the spans that are still open, such as those of stages, once no more events come. It leaves the one that
// the build is below to the caller.
func (r *Recorder) Close() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range r.vertices {
		v.execute.End(nil)
		v.span.End(nil)
	}
	for _, st := range r.stages {
		if st.last.IsZero() {
			st.last = time.Now()
		}
		st.span.endAt(st.last, st.err)
	}
	for status, name := range map[event.Status]string{
		event.Cached: "cached", event.Done: "ran", event.Failed: "failed", event.Canceled: "canceled",
	} {
		if n := r.counts[status]; n > 0 {
			r.root.Set(Attribute{"strata.steps." + name, n})
		}
	}
}

// key is that of a Recorder in a context.
type key struct{}

// With is a context whose build r records, for ParentOf.
func With(ctx context.Context, r *Recorder) context.Context {
	if r == nil {
		return ctx
	}
	return context.WithValue(ctx, key{}, r)
}

// ParentOf is the span of a vertex of the build that a context is of, for spans of who works for it on other machines: zero
// where nobody traces.
func ParentOf(ctx context.Context, v *event.Vertex) Parent {
	r, _ := ctx.Value(key{}).(*Recorder)
	if r == nil {
		return Parent{}
	}
	if found := r.vertex(v); found != nil {
		return found.span.Parent()
	}
	return r.root.Parent()
}
