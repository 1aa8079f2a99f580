package remote

import (
	"context"
	"errors"
	"path"

	"github.com/strata-build/strata/internal/builder/source/address"
	"github.com/strata-build/strata/internal/event"
)

// transfer shows something on its way. One goroutine at a time uses it.
type transfer struct {
	events event.Sink
	vertex *event.Vertex
	item   string
	moved  bool // there were bytes
}

// begin shows that what a URL or a repository has begins to move.
func (f *Fetcher) begin(what string) *transfer {
	what = address.Redact(what)
	events := event.OrDiscard(f.Events)
	return &transfer{events: events, vertex: event.Begin(events, event.Fetch, "[internal] fetch "+what), item: path.Base(what)}
}

// bytes says how much of it is here; total is 0 where that is not known.
func (t *transfer) bytes(current, total int64) {
	t.moved = true
	t.events.Send(event.Progress{Vertex: t.vertex, Item: t.item, Current: current, Total: total})
}

func (t *transfer) done(err error) {
	if errors.Is(err, context.Canceled) {
		t.events.Send(event.Finished{Vertex: t.vertex, Status: event.Canceled})
		return
	}
	if err == nil && t.moved {
		t.events.Send(event.Progress{Vertex: t.vertex, Item: t.item, Status: "done"})
	}
	event.End(t.events, t.vertex, err)
}
