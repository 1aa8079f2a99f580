package event_test

import (
	"testing"

	"github.com/strata-build/strata/internal/event"
)

type kept []event.Event

func (k *kept) Send(e event.Event) { *k = append(*k, e) }

// TestBelonging sends an event of each type that has a vertex: all have to arrive with the same one.
func TestBelonging(t *testing.T) {
	v := &event.Vertex{Kind: event.Run, Name: "[build 2/5] RUN make"}
	var got kept
	b := event.BelongTo(&got, "app")
	for _, e := range []event.Event{
		event.Started{Vertex: v}, event.LookedUp{Vertex: v}, event.Rejected{Vertex: v}, event.ReadChanged{Vertex: v},
		event.Running{Vertex: v}, event.Executing{Vertex: v}, event.Reason{Vertex: v}, event.Output{Vertex: v},
		event.Progress{Vertex: v}, event.Finding{Vertex: v}, event.Finished{Vertex: v},
	} {
		b.Send(e)
	}
	for _, e := range got {
		w := event.VertexOf(e)
		if w.Name != "[app build 2/5] RUN make" || w != event.VertexOf(got[0]) {
			t.Errorf("%T has the vertex %q", e, w.Name)
		}
	}
}
