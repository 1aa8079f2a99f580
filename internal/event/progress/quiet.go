package progress

import (
	"io"
	"sync"
	"time"
)

// quiet prints nothing but, at the end, the last output of the steps that failed: without it nobody could tell
// why.
type quiet struct {
	mu     sync.Mutex
	out    io.Writer
	now    func() time.Time
	steps  map[int]*step
	failed []*step
}

func newQuiet(out io.Writer, now func() time.Time) *quiet {
	return &quiet{out: out, now: now, steps: map[int]*step{}}
}

func (q *quiet) Start(id int, name string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := &step{}
	s.begin(name, q.now())
	q.steps[id] = s
}

func (q *quiet) Log(id int, stream int, data []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if s := q.steps[id]; s != nil {
		s.tail.write(q.now().Sub(s.started), data)
	}
}

func (q *quiet) Note(id int, text string) {}

func (q *quiet) Warn(id int, w Warning) {}

func (q *quiet) Transfer(id int, item string, current, total int64, status string) {}

func (q *quiet) Finish(id int, status Status, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if s := q.steps[id]; s != nil && status == Failed {
		q.failed = append(q.failed, s)
	}
	delete(q.steps, id)
}

func (q *quiet) Cached(id int, remark string) { q.Finish(id, Cached, nil) }

func (q *quiet) Close(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, s := range q.failed {
		writeTail(q.out, s, tailLines)
	}
	q.failed = nil
}
