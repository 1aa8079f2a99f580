package builder

import (
	"errors"
	"fmt"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/event"
)

// phase is something of a build that is no step.
type phase struct {
	events event.Sink
	vertex *event.Vertex
}

// beginPhase begins a phase, "load build context", which BuildKit's progress shows as one of its own.
func (b *build) beginPhase(name string) phase { return b.beginNamed("[internal] " + name) }

// beginNamed begins a phase whose name says what it belongs to.
func (b *build) beginNamed(name string) phase { return beginNamed(b.events, name) }

func beginNamed(events event.Sink, name string) phase {
	return phase{events, event.Begin(events, event.Phase, name)}
}

func (p phase) end(err error) { event.End(p.events, p.vertex, err) }

// say prints a line about what was done.
func (p phase) say(format string, args ...any) {
	p.events.Send(event.Output{Vertex: p.vertex, Stream: 2, Data: fmt.Appendf(nil, format+"\n", args...)})
}

// finding is an event of something in the Dockerfile that is probably not meant. read is the reading of the Dockerfile.
func finding(read *event.Vertex, w dockerfile.Warning) event.Finding {
	return event.Finding{Vertex: read, Rule: w.Rule, Text: w.String(), Detail: w.Description, URL: w.URL, Ranges: w.Ranges}
}

// withoutPlace is an error without the place in the Dockerfile, which is shown once, at the end.
func withoutPlace(err error) error {
	if e := (*dockerfile.Error)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}
