package trace_test

import (
	"fmt"
	"testing"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/event/trace"
)

func TestBuild(t *testing.T) {
	c := &collector{}
	tracer, _ := start(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+c.overHTTP(t), "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf")
	root := tracer.Begin(trace.Parent{}, "root")
	r := trace.Build(root)
	ctx, sink := trace.With(t.Context(), r), r.Sink(event.Discard)

	stage := &event.Stage{StageID: event.StageID{Platform: "linux/amd64"}, Name: "build"}
	run := &event.Vertex{Kind: event.Run, Name: "[build 2/2] RUN make of-an-argument", Text: "RUN make $X", Stage: stage, Number: 2, Total: 2}
	sink.Send(event.Started{Vertex: run})
	above := trace.ParentOf(ctx, run)
	sink.Send(event.Running{Vertex: run})
	sink.Send(event.Executing{Vertex: run})
	sink.Send(event.Executing{Vertex: run})
	sink.Send(event.Output{Vertex: run, Data: []byte("printed")})
	sink.Send(event.Finished{Vertex: run, Status: event.Done, Record: &cache.Record{Elsewhere: &cache.Elsewhere{Host: "host-b"}}})
	setting := &event.Vertex{Kind: event.Configure, Text: "ENV A=b", Stage: stage}
	sink.Send(event.Started{Vertex: setting})
	sink.Send(event.Finished{Vertex: setting, Status: event.Configured})
	fetch := event.Begin(sink, event.Fetch, "[internal] fetch https://me:geheim@host/x")
	for _, n := range []int64{10, 70} {
		sink.Send(event.Progress{Vertex: fetch, Item: "x", Current: n})
		sink.Send(event.Progress{Vertex: fetch, Item: "y", Current: n})
	}
	sink.Send(event.Progress{Vertex: fetch, Item: "x", Status: "done"})
	event.End(sink, fetch, nil)
	open := event.Begin(sink, event.Export, "exporting to image") // never ends
	r.Close()
	root.End(nil)
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}

	all := c.spans()
	if len(all) != 6 {
		t.Errorf("there are %d spans: %v", len(all), all)
	}
	step := all["[build 2/2] RUN make $X"]
	if step.ParentSpanID() != all["stage build (linux/amd64)"].SpanID() || all["execute"].ParentSpanID() != step.SpanID() {
		t.Error("the step is not below its stage, or has no span of its execution")
	}
	if above.String() != fmt.Sprintf("00-%s-%s-01", step.TraceID(), step.SpanID()) {
		t.Errorf("spans of other machines are below %s", above)
	}
	if got := step.Attributes().AsRaw(); got["strata.host"] != "host-b" || got["strata.step"] != "2/2" || got["strata.cached"] != false {
		t.Errorf("the step has %v", got)
	}
	fetched, ok := all["[internal] fetch https://me:(hidden)@host/x"]
	if !ok || fetched.Attributes().AsRaw()["strata.bytes"] != int64(140) {
		t.Errorf("the fetch is not there, or has %v", all)
	}
	if trace.ParentOf(ctx, open).IsZero() || trace.ParentOf(ctx, setting) != root.Parent() {
		t.Error("a vertex without a span is not below the root")
	}
	if got := all["root"].Attributes().AsRaw(); got["strata.steps.ran"] != int64(1) {
		t.Errorf("the root has %v", got)
	}
}
