package progress

import (
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/event"
)

// board stands before a display and says in terms of vertices, which is all that BuildKit's looks have, what has none:
// warnings, and layers on their way. It leaves out what BuildKit does not show.
type board struct {
	Display

	mu     sync.Mutex
	layers *event.Vertex // of all layers that are fetched, nil before the first
	bases  map[base]bool // shown already
}

// base is what a stage starts from. Stages that start from the same image show it once, as BuildKit does.
type base struct {
	name, platform string
	image          digest.Digest
}

// Send implements event.Sink.
func (b *board) Send(e event.Event) {
	switch e := e.(type) {
	case event.Started:
		if e.Vertex.Name == "" || e.Vertex.Kind == event.From {
			return
		}
	case event.Finished:
		if e.Vertex.Kind == event.From {
			b.from(e)
			return
		}
	case event.Finding:
		if e.Rule == "" {
			return // it is said at the end, when it is certain
		}
	case event.Layer:
		b.layer(e)
		return
	case event.Warning:
		v := event.Begin(b.Display, event.Phase, "[internal] check the Dockerfile")
		b.Display.Send(event.Output{Vertex: v, Stream: 2, Data: []byte(strings.TrimRight(e.Text, "\n") + "\n")})
		event.End(b.Display, v, nil)
		return
	case event.Built:
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.layers != nil {
			event.End(b.Display, b.layers, nil)
			b.layers = nil // another build may go on
		}
		return
	}
	b.Display.Send(e)
}

// from shows the image of a FROM once it is known: as cached where its layers are here.
func (b *board) from(e event.Finished) {
	if e.Vertex.Name == "" || e.Status != event.Cached && e.Status != event.Done {
		return
	}
	if st := e.Vertex.Stage; st != nil {
		this := base{st.From, st.Platform, e.State}
		b.mu.Lock()
		shown := b.bases[this]
		if b.bases == nil {
			b.bases = map[base]bool{}
		}
		b.bases[this] = true
		b.mu.Unlock()
		if shown {
			return
		}
	}
	b.Display.Send(event.Started{Vertex: e.Vertex})
	b.Display.Send(e)
}

func (b *board) layer(e event.Layer) {
	b.mu.Lock()
	if b.layers == nil {
		b.layers = event.Begin(b.Display, event.Fetch, "[internal] fetch layers that a step runs on")
	}
	v := b.layers
	b.mu.Unlock()
	status := e.Status
	switch status {
	case "Downloading":
		status = ""
	case "Download complete":
		status = "done"
	}
	b.Display.Send(event.Progress{Vertex: v, Item: e.ID.String(), Current: e.Current, Total: e.Total, Status: status})
}
