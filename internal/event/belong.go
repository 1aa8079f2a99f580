package event

import (
	"strings"
	"sync"
)

// Belonging passes events on to a sink that several builds share, and says in the name of each vertex which build it belongs
// to, as buildx does for the targets of a bake: "[build 2/5] RUN make" of app is "[app build 2/5] RUN make".
type Belonging struct {
	to   Sink
	name string

	mu    sync.Mutex
	named map[*Vertex]*Vertex
}

// BelongTo returns a sink for the events of the build of a name.
func BelongTo(to Sink, name string) *Belonging {
	return &Belonging{to: to, name: name, named: map[*Vertex]*Vertex{}}
}

// Send implements Sink.
func (b *Belonging) Send(e Event) {
	v := e.vertex()
	if v == nil {
		b.to.Send(e)
		return
	}
	b.mu.Lock()
	named := b.named[v]
	if named == nil {
		copied := *v
		copied.Name = b.rename(v.Name)
		named = &copied
		b.named[v] = named
	}
	b.mu.Unlock()
	b.to.Send(withVertex(e, named))
}

func (b *Belonging) rename(name string) string {
	if name == "" {
		return ""
	}
	if rest, ok := strings.CutPrefix(name, "["); ok {
		return "[" + b.name + " " + rest
	}
	return "[" + b.name + "] " + name
}

// withVertex is the event with another vertex.
func withVertex(e Event, v *Vertex) Event {
	switch e := e.(type) {
	case Started:
		e.Vertex = v
		return e
	case LookedUp:
		e.Vertex = v
		return e
	case Rejected:
		e.Vertex = v
		return e
	case ReadChanged:
		e.Vertex = v
		return e
	case Running:
		e.Vertex = v
		return e
	case Executing:
		e.Vertex = v
		return e
	case Reason:
		e.Vertex = v
		return e
	case Output:
		e.Vertex = v
		return e
	case Progress:
		e.Vertex = v
		return e
	case Finished:
		e.Vertex = v
		return e
	case Finding:
		e.Vertex = v
		return e
	}
	return e
}
