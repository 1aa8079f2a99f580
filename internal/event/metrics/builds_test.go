package metrics_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/event/metrics"
)

// rows are those of a set that are not 0, without comments.
func rows(s *metrics.Set) string {
	var kept []string
	for line := range strings.Lines(string(s.Write(metrics.Text))) {
		if !strings.HasPrefix(line, "#") && !strings.HasSuffix(line, " 0\n") && !strings.HasSuffix(line, " 0.0\n") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

func TestBuilds(t *testing.T) {
	s := metrics.New()
	b := metrics.NewBuilds(s)
	sink := b.Sink(event.Discard)
	step := func(kind event.Kind, f event.Finished, before ...func(v *event.Vertex) event.Event) {
		v := &event.Vertex{Kind: kind}
		sink.Send(event.Started{Vertex: v})
		for _, e := range before {
			sink.Send(e(v))
		}
		f.Vertex = v
		sink.Send(f)
		sink.Send(f) // of a vertex that is not known any more
	}
	executing := func(v *event.Vertex) event.Event { return event.Executing{Vertex: v} }
	bytes := func(n int64) func(v *event.Vertex) event.Event {
		return func(v *event.Vertex) event.Event { return event.Progress{Vertex: v, Item: "x", Current: n, Total: 100} }
	}
	step(event.Run, event.Finished{Status: event.Done}, executing)
	step(event.Copy, event.Finished{Status: event.Done}, bytes(7), executing)
	step(event.Run, event.Finished{Status: event.Cached, Record: &cache.Record{}})
	step(event.Run, event.Finished{Status: event.Cached, Record: &cache.Record{Origin: "me/app"}})
	step(event.Run, event.Finished{Status: event.Cached, Record: &cache.Record{Elsewhere: &cache.Elsewhere{Host: "b"}}})
	step(event.Run, event.Finished{Status: event.Done, Record: &cache.Record{Elsewhere: &cache.Elsewhere{Host: "b"}}})
	step(event.Run, event.Finished{Status: event.Failed}, executing)
	step(event.Configure, event.Finished{Status: event.Configured})
	step(event.From, event.Finished{Status: event.Cached})
	step(event.Fetch, event.Finished{Status: event.Done}, bytes(30), bytes(100), bytes(0))
	for _, n := range []int64{10, 50, 50} {
		sink.Send(event.Layer{ID: "sha256:1", Status: event.Downloading, Current: n})
	}
	sink.Send(event.Layer{ID: "sha256:1", Status: "Extracting", Current: 1000})
	b.End(2*time.Second, nil)
	b.End(time.Minute, context.Canceled)
	b.End(time.Minute, errors.New("broken"))
	got := rows(s)
	for _, want := range []string{
		`strata_steps_total{outcome="ran"} 2.0`, `strata_steps_total{outcome="cached"} 1.0`, `strata_steps_total{outcome="imported"} 1.0`, `strata_steps_total{outcome="failed"} 1.0`,
		`strata_steps_total{outcome="shared"} 1.0`, `strata_steps_total{outcome="worker"} 1.0`,
		`strata_fetched_bytes_total 150.0`, `strata_step_duration_seconds_count{kind="run"} 1`, `strata_step_duration_seconds_count{kind="copy"} 1`,
		`strata_builds_total{result="succeeded"} 1.0`, `strata_builds_total{result="failed"} 1.0`, `strata_builds_total{result="canceled"} 1.0`,
		`strata_build_duration_seconds_bucket{le="5.0"} 1`, `strata_build_duration_seconds_sum 122.0`, `strata_last_build_timestamp_seconds{result="failed"} `,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("there is no %s in\n%s", want, got)
		}
	}
	var none *metrics.Builds
	none.End(time.Second, nil)
	if metrics.NewBuilds(nil) != nil || none.Sink(event.Discard) != event.Discard {
		t.Error("a nil set counts")
	}
}

func TestRestore(t *testing.T) {
	text := sample().Write(metrics.Text)
	once := rows(sample())
	s := metrics.New()
	s.Info("strata_build", "", map[string]string{"version": "new"})
	s.Counter("strata_steps", "", "outcome", "platform")
	s.Gauge("strata_slots_busy", "", "other").Set(9, "x")
	s.Counter("strata_sent_bytes", "")
	s.Histogram("strata_step_duration_seconds", "", []float64{0.5, 1, 60}, "platform")
	s.Restore(text)
	want := strings.Replace(strings.Replace(once, `v1 \"dev\"`, "new", 1), "strata_slots_busy 3.0", `strata_slots_busy{other="x"} 9.0`, 1)
	if d := cmp.Diff(want, rows(s)); d != "" {
		t.Error(d)
	}
	s.Restore(text)
	for _, want := range []string{
		`strata_steps_total{outcome="ran",platform="linux/amd64"} 4.0`, `strata_sent_bytes_total 2e+07`,
		`strata_step_duration_seconds_bucket{platform="linux/amd64",le="1.0"} 6`, `strata_step_duration_seconds_bucket{platform="linux/amd64",le="+Inf"} 10`,
		`strata_step_duration_seconds_sum{platform="linux/amd64"} 6017.2`,
	} {
		if got := rows(s); !strings.Contains(got, want) {
			t.Errorf("there is no %s in\n%s", want, got)
		}
	}
}

func FuzzRestore(f *testing.F) {
	f.Add(sample().Write(metrics.Text))
	f.Add(sample().Write(metrics.OpenMetrics))
	f.Add([]byte("strata_step_duration_seconds_bucket{platform=\"a\",le=\"1.0\"} 3\nstrata_step_duration_seconds_count{platform=\"a\"} 1\nstrata_sent_bytes_total NaN\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s := sample()
		s.Restore(text)
		first := s.Write(metrics.Text)
		again := metrics.New()
		again.Counter("strata_steps", "", "outcome", "platform")
		again.Counter("strata_sent_bytes", "")
		again.Histogram("strata_step_duration_seconds", "", []float64{0.5, 1, 60}, "platform")
		again.Restore(first)
		for line := range bytes.Lines([]byte(rows(again))) {
			if !bytes.Contains(first, line) && !bytes.Contains(line, []byte("e+")) {
				t.Errorf("%q is not in\n%s", line, first)
			}
		}
	})
}
