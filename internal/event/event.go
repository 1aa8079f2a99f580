// Package event says what happens during a build, a pull or a push, as plain values.
//
// Whoever does something sends events to a Sink, and knows nothing of who listens. Who sends and who listens:
//
//	builder           Phase vertices, Planned, Finding, Warning, Built ─┐
//	builder/solver    From and step vertices, LookedUp, Rejected,       ├─→ explain.Journal ─→ progress display
//	                  Running, Executing, Output, Warning               │     adds Reason         tty, plain, rawjson,
//	builder/export    Export vertices, Progress                         │     saves the build     quiet, classic
//	source/remote     Fetch vertices, Progress                         ─┘
//	transfer          Layer                                            ──────────────────────→ progress display, Layers
//
// What begins and ends is a Vertex, the word of BuildKit's progress for it. Whoever begins it makes it, and its pointer
// is its identity: all events that belong to it carry it. Started is its first event, Finished its last, and its events
// are sent in the order in which they happen.
//
// The package stands on the ground floor: it may know keys, records and layers, and nothing of the builder.
package event

// Event is one thing that happened. The types of this package are all there are.
type Event interface{ vertex() *Vertex }

// Sink takes events. Send may be called from several goroutines at once; it returns without waiting for a terminal, and
// keeps no slice of an event once it has returned, but those of LookedUp, Planned and Finished, which nobody changes.
type Sink interface{ Send(Event) }

// Discard drops all events.
var Discard Sink = discard{}

type discard struct{}

func (discard) Send(Event) {}

// OrDiscard is the sink, or Discard for nil.
func OrDiscard(s Sink) Sink {
	if s == nil {
		return Discard
	}
	return s
}

// Tee passes each event on to all of its sinks, in their order.
type Tee []Sink

// Send implements Sink.
func (t Tee) Send(e Event) {
	for _, s := range t {
		s.Send(e)
	}
}

// Begin makes a vertex of a kind and starts it. name is how BuildKit shows it.
func Begin(s Sink, kind Kind, name string) *Vertex {
	v := &Vertex{Kind: kind, Name: name}
	s.Send(Started{v})
	return v
}

// End finishes a vertex that is no step: as Failed if err is not nil.
func End(s Sink, v *Vertex, err error) {
	f := Finished{Vertex: v, Status: Done}
	if err != nil {
		f.Status, f.Err = Failed, err
	}
	s.Send(f)
}
