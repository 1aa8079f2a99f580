package metrics

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/event"
)

// Builds is a sink that counts what builds do. Its Set has these, all of which begin with strata_:
//
//	builds_total{result}                   builds that succeeded, failed or were canceled
//	build_duration_seconds                 what they took, a histogram
//	last_build_timestamp_seconds{result}   when the last of each result ended
//	steps_total{outcome}                   steps that ran, ran on a worker, were shared (another machine ran them while this one
//	                                       waited), cached, observed (cached since nothing that they read has changed),
//	                                       imported (cached in another place), failed or canceled
//	step_duration_seconds{kind}            what those that ran took, once all that they need was here, a histogram
//	step_waiting_seconds_total             how long they waited before that: for files, layers and other builds
//	fetched_bytes_total                    layers, URLs and git repositories that were downloaded
type Builds struct {
	builds, steps, waited, fetched *Counter
	last                           *Gauge
	took, stepTook                 *Histogram

	mu       sync.Mutex // of all below
	vertices map[*event.Vertex]*progress
	layers   map[digest.Digest]int64 // bytes that were counted of each layer on its way
}

// progress is what is known of a vertex under way.
type progress struct {
	began, executed time.Time        // executed is zero until it executes
	bytes           map[string]int64 // that were counted of each item of a fetch
}

// NewBuilds adds the metrics of builds to a set; nil where that is.
func NewBuilds(s *Set) *Builds {
	if s == nil {
		return nil
	}
	return &Builds{
		builds:   s.Counter("strata_builds", "Builds, by their result.", "result"),
		took:     s.Histogram("strata_build_duration_seconds", "What builds took.", Durations),
		last:     s.Gauge("strata_last_build_timestamp_seconds", "When the last build with each result ended.", "result"),
		steps:    s.Counter("strata_steps", "Steps of builds, by what became of them.", "outcome"),
		stepTook: s.Histogram("strata_step_duration_seconds", "What steps took that ran, once all that they need was there.", Durations, "kind"),
		waited:   s.Counter("strata_step_waiting_seconds", "How long steps waited before they ran."),
		fetched:  s.Counter("strata_fetched_bytes", "Bytes of layers, URLs and git repositories that were downloaded."),
		vertices: map[*event.Vertex]*progress{}, layers: map[digest.Digest]int64{},
	}
}

// Sink is b after another sink, or that alone where b is nil.
func (b *Builds) Sink(first event.Sink) event.Sink {
	if b == nil {
		return first
	}
	return event.Tee{first, b}
}

// End counts a build that ended now, after how long and with what error.
func (b *Builds) End(took time.Duration, err error) {
	if b == nil {
		return
	}
	result := "succeeded"
	switch {
	case errors.Is(err, context.Canceled):
		result = "canceled"
	case err != nil:
		result = "failed"
	}
	b.builds.Add(1, result)
	b.took.Observe(took.Seconds())
	b.last.Set(float64(time.Now().Unix()), result)
}

// Send implements event.Sink.
func (b *Builds) Send(e event.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e, ok := e.(event.Layer); ok {
		if e.Status == event.Downloading && e.Current > b.layers[e.ID] {
			b.fetched.Add(float64(e.Current - b.layers[e.ID]))
			b.layers[e.ID] = e.Current
		}
		return
	}
	v := event.VertexOf(e)
	if e, ok := e.(event.Started); ok {
		b.vertices[e.Vertex] = &progress{began: time.Now()}
		return
	}
	p := b.vertices[v]
	if p == nil {
		return
	}
	switch e := e.(type) {
	case event.Executing:
		p.executed = time.Now()
		b.waited.Add(p.executed.Sub(p.began).Seconds())
	case event.Progress:
		if v.Kind != event.Fetch || e.Current <= p.bytes[e.Item] {
			return
		}
		if p.bytes == nil {
			p.bytes = map[string]int64{}
		}
		b.fetched.Add(float64(e.Current - p.bytes[e.Item]))
		p.bytes[e.Item] = e.Current
	case event.Finished:
		delete(b.vertices, v)
		b.finish(p, e)
	}
}

// finish counts a step that ended. Those that need no record, since they only change the configuration, do not count.
func (b *Builds) finish(p *progress, e event.Finished) {
	if !e.Vertex.Kind.IsStep() || e.Status == event.Configured {
		return
	}
	b.steps.Add(1, outcome(e))
	if e.Status == event.Done && !p.executed.IsZero() {
		b.stepTook.Observe(time.Since(p.executed).Seconds(), string(e.Vertex.Kind))
	}
}

func outcome(e event.Finished) string {
	elsewhere := e.Record != nil && e.Record.Elsewhere != nil
	switch {
	case e.Status == event.Done && elsewhere:
		return "worker"
	case e.Status == event.Done:
		return "ran"
	case e.Status != event.Cached:
		return string(e.Status)
	case elsewhere:
		return "shared"
	case e.Record != nil && e.Record.IsObservedHit():
		return "observed"
	case e.Record != nil && e.Record.Origin != "":
		return "imported"
	}
	return "cached"
}
