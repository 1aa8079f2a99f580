package progress

import (
	"sync"

	"github.com/strata-build/strata/internal/event"
)

// feed sends the events of vertices that tests tell apart by numbers.
type feed struct {
	Display
	mu       sync.Mutex
	vertices map[int]*event.Vertex
}

func newFeed(d Display) *feed { return &feed{Display: d, vertices: map[int]*event.Vertex{}} }

// vertex is the one of a number. One that was never started is new to the display.
func (f *feed) vertex(id int) *event.Vertex {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := f.vertices[id]
	if v == nil {
		v = &event.Vertex{}
		f.vertices[id] = v
	}
	return v
}

func (f *feed) start(id int, name string) {
	v := event.Begin(f.Display, event.Run, name)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.vertices[id] = v
}

func (f *feed) log(id, stream int, data []byte) {
	f.Send(event.Output{Vertex: f.vertex(id), Stream: stream, Data: data})
}

func (f *feed) reason(id int, text string) {
	f.Send(event.Reason{Vertex: f.vertex(id), Text: text})
}

func (f *feed) warn(id int, text string) {
	f.Send(event.Finding{Vertex: f.vertex(id), Text: text})
}

func (f *feed) progress(id int, item string, current, total int64, status string) {
	f.Send(event.Progress{Vertex: f.vertex(id), Item: item, Current: current, Total: total, Status: status})
}

func (f *feed) finish(id int, status event.Status, err error) {
	f.Send(event.Finished{Vertex: f.vertex(id), Status: status, Err: err})
}
