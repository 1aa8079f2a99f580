package progress

import (
	"io"
	"sync"
	"time"

	"github.com/strata-build/strata/internal/event"
)

// quiet prints nothing but, at the end, the last output of the steps that failed: without it nobody could tell
// why.
type quiet struct {
	mu     sync.Mutex
	out    io.Writer
	now    func() time.Time
	steps  map[*event.Vertex]*step
	failed []*step
}

func newQuiet(out io.Writer, now func() time.Time) *quiet {
	return &quiet{out: out, now: now, steps: map[*event.Vertex]*step{}}
}

// Send implements event.Sink.
func (q *quiet) Send(e event.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch e := e.(type) {
	case event.Started:
		s := &step{}
		s.begin(e.Vertex.Name, q.now())
		q.steps[e.Vertex] = s
	case event.Output:
		if s := q.steps[e.Vertex]; s != nil {
			s.tail.write(q.now().Sub(s.started), e.Data)
		}
	case event.Finished:
		if s := q.steps[e.Vertex]; s != nil && e.Status == event.Failed {
			q.failed = append(q.failed, s)
		}
		delete(q.steps, e.Vertex)
	}
}

// Close implements Display.
func (q *quiet) Close(error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, s := range q.failed {
		writeTail(q.out, s, tailLines)
	}
	q.failed = nil
}
