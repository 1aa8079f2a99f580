package progress

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// event is a line of the rawjson mode: the JSON of BuildKit's client.SolveStatus, one list filled per line, and
// "notes", which BuildKit does not have. Times are RFC 3339 with nanoseconds; a log's data is base64, untouched.
type event struct {
	Vertexes []vertexJSON `json:"vertexes,omitempty"`
	Statuses []statusJSON `json:"statuses,omitempty"`
	Logs     []logJSON    `json:"logs,omitempty"`
	Warnings []warnJSON   `json:"warnings,omitempty"`
	Notes    []noteJSON   `json:"notes,omitempty"`
}

// vertexJSON is printed when a vertex starts and, with completed set, when it ends. digest only tells vertices
// of one build apart. error ends in "context canceled" for a canceled one, which is how BuildKit's own display
// recognises them.
type vertexJSON struct {
	Digest    digest.Digest `json:"digest"`
	Name      string        `json:"name"`
	Started   *time.Time    `json:"started,omitempty"`
	Completed *time.Time    `json:"completed,omitempty"`
	Cached    bool          `json:"cached,omitempty"`
	Error     string        `json:"error,omitempty"`
}

type statusJSON struct {
	ID        string        `json:"id"`
	Vertex    digest.Digest `json:"vertex"`
	Name      string        `json:"name,omitempty"`
	Total     int64         `json:"total,omitempty"`
	Current   int64         `json:"current"`
	Timestamp time.Time     `json:"timestamp"`
	Started   *time.Time    `json:"started,omitempty"`
	Completed *time.Time    `json:"completed,omitempty"`
}

type logJSON struct {
	Vertex    digest.Digest `json:"vertex"`
	Stream    int           `json:"stream"`
	Data      []byte        `json:"data"`
	Timestamp time.Time     `json:"timestamp"`
}

// warnJSON is a warning without the source that BuildKit repeats in each. Texts are base64, as there.
type warnJSON struct {
	Vertex digest.Digest `json:"vertex"`
	Level  int           `json:"level"`
	Short  []byte        `json:"short"`
	Detail [][]byte      `json:"detail,omitempty"`
	URL    string        `json:"url,omitempty"`
	Range  any           `json:"range,omitempty"`
}

type noteJSON struct {
	Vertex    digest.Digest `json:"vertex"`
	Text      string        `json:"text"`
	Timestamp time.Time     `json:"timestamp"`
}

type rawJSON struct {
	mu     sync.Mutex
	out    *spool
	enc    *json.Encoder
	now    func() time.Time
	steps  map[int]*rawStep
	order  []*rawStep
	closed bool
}

type rawStep struct {
	vertex    vertexJSON
	transfers transfers
}

func newRawJSON(out io.Writer, now func() time.Time) *rawJSON {
	s := newSpool(out)
	enc := json.NewEncoder(s)
	enc.SetEscapeHTML(false)
	return &rawJSON{out: s, enc: enc, now: now, steps: map[int]*rawStep{}}
}

func (r *rawJSON) Start(id int, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	now := r.now()
	s := r.steps[id]
	if s == nil {
		s = &rawStep{vertex: vertexJSON{Digest: digest.FromString(fmt.Sprintf("%d %s", len(r.order)+1, name))}}
		r.steps[id] = s
		r.order = append(r.order, s)
	}
	s.vertex = vertexJSON{Digest: s.vertex.Digest, Name: name, Started: &now}
	r.enc.Encode(event{Vertexes: []vertexJSON{s.vertex}})
}

func (r *rawJSON) Log(id int, stream int, data []byte) {
	r.with(id, func(s *rawStep) {
		r.enc.Encode(event{Logs: []logJSON{{s.vertex.Digest, stream, data, r.now()}}})
	})
}

func (r *rawJSON) Note(id int, text string) {
	r.with(id, func(s *rawStep) {
		r.enc.Encode(event{Notes: []noteJSON{{s.vertex.Digest, text, r.now()}}})
	})
}

func (r *rawJSON) Warn(id int, w Warning) {
	r.with(id, func(s *rawStep) {
		j := warnJSON{Vertex: s.vertex.Digest, Level: 1, Short: []byte(w.Short), URL: w.URL, Range: w.Range}
		if w.Detail != "" {
			j.Detail = [][]byte{[]byte(w.Detail)}
		}
		r.enc.Encode(event{Warnings: []warnJSON{j}})
	})
}

func (r *rawJSON) Transfer(id int, item string, current, total int64, status string) {
	r.with(id, func(s *rawStep) {
		now := r.now()
		var list []statusJSON
		for _, t := range s.transfers.update(now, item, current, total, status) {
			j := statusJSON{
				ID: t.label, Vertex: s.vertex.Digest, Current: t.current, Total: t.total, Timestamp: now, Started: &t.started,
			}
			if !t.ended.IsZero() {
				j.Completed = &t.ended
			}
			list = append(list, j)
		}
		if len(list) > 0 {
			r.enc.Encode(event{Statuses: list})
		}
	})
}

func (r *rawJSON) Finish(id int, status Status, err error) {
	r.with(id, func(s *rawStep) { r.finish(s, status, err) })
}

func (r *rawJSON) Cached(id int, remark string) {
	r.with(id, func(s *rawStep) {
		if remark != "" {
			r.enc.Encode(event{Notes: []noteJSON{{s.vertex.Digest, remark, r.now()}}})
		}
		r.finish(s, Cached, nil)
	})
}

func (r *rawJSON) finish(s *rawStep, status Status, err error) {
	now := r.now()
	s.vertex.Completed = &now
	switch status {
	case Cached:
		s.vertex.Cached = true
	case Canceled:
		s.vertex.Error = "context canceled"
	case Failed:
		s.vertex.Error = "failed"
		if err != nil {
			s.vertex.Error = err.Error()
		}
	}
	r.enc.Encode(event{Vertexes: []vertexJSON{s.vertex}})
}

func (r *rawJSON) Close(err error) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return
	}
	for _, s := range r.order {
		if s.vertex.Completed == nil {
			r.finish(s, closeAs(err), nil)
		}
	}
	r.closed = true
	r.mu.Unlock()
	r.out.Close()
}

func (r *rawJSON) with(id int, do func(*rawStep)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.steps[id]; s != nil && !r.closed {
		do(s)
	}
}
