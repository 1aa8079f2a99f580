package progress

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/event"
)

// line is a line of the rawjson mode: the JSON of BuildKit's client.SolveStatus, one list filled per line, and
// "notes", which BuildKit does not have. Times are RFC 3339 with nanoseconds; a log's data is base64, untouched.
type line struct {
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

// warnJSON is a warning: the JSON of BuildKit's client.VertexWarning. Texts are base64, as there. Lines leave out the
// source, which BuildKit repeats in each.
type warnJSON struct {
	Vertex digest.Digest `json:"vertex"`
	Level  int           `json:"level"`
	Short  []byte        `json:"short"`
	Detail [][]byte      `json:"detail,omitempty"`
	URL    string        `json:"url,omitempty"`
	Source *sourceJSON   `json:"sourceInfo,omitempty"`
	Range  any           `json:"range,omitempty"`
}

type sourceJSON struct {
	Filename string `json:"filename"`
	Data     []byte `json:"data"`
	Language string `json:"language"`
}

func newWarning(vertex digest.Digest, e event.Finding) warnJSON {
	w := warnJSON{Vertex: vertex, Level: 1, Short: []byte(e.Text), URL: e.URL, Range: e.Ranges}
	if e.Detail != "" {
		w.Detail = [][]byte{[]byte(e.Detail)}
	}
	return w
}

// Warnings are findings in a Dockerfile as a value for JSON, in the form that BuildKit gives its clients.
func Warnings(found []event.Finding, filename string, source []byte) any {
	list := make([]warnJSON, len(found))
	for i, e := range found {
		list[i] = newWarning(vertexDigest(1, e.Vertex), e) // the reading of the Dockerfile comes first
		list[i].Source = &sourceJSON{filename, source, "Dockerfile"}
	}
	return list
}

// vertexDigest tells the n-th vertex of a build from the others.
func vertexDigest(n int, v *event.Vertex) digest.Digest {
	return digest.FromString(fmt.Sprintf("%d %s", n, v.Name))
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
	steps  map[*event.Vertex]*rawStep
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
	return &rawJSON{out: s, enc: enc, now: now, steps: map[*event.Vertex]*rawStep{}}
}

// Send implements event.Sink.
func (r *rawJSON) Send(e event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	if e, ok := e.(event.Started); ok {
		r.start(e.Vertex)
		return
	}
	s := r.steps[event.VertexOf(e)]
	if s == nil {
		return
	}
	switch e := e.(type) {
	case event.Output:
		r.enc.Encode(line{Logs: []logJSON{{s.vertex.Digest, e.Stream, e.Data, r.now()}}})
	case event.Reason:
		r.note(s, "why: "+e.Text)
	case event.Finding:
		r.enc.Encode(line{Warnings: []warnJSON{newWarning(s.vertex.Digest, e)}})
	case event.Progress:
		r.progress(s, e)
	case event.Finished:
		if remark := e.Remark(); remark != "" {
			r.note(s, remark)
		}
		r.finish(s, e)
	}
}

func (r *rawJSON) start(v *event.Vertex) {
	now := r.now()
	s := &rawStep{vertex: vertexJSON{
		Digest: vertexDigest(len(r.order)+1, v), Name: v.Name, Started: &now,
	}}
	r.steps[v] = s
	r.order = append(r.order, s)
	r.enc.Encode(line{Vertexes: []vertexJSON{s.vertex}})
}

func (r *rawJSON) note(s *rawStep, text string) {
	r.enc.Encode(line{Notes: []noteJSON{{s.vertex.Digest, text, r.now()}}})
}

func (r *rawJSON) progress(s *rawStep, e event.Progress) {
	now := r.now()
	var list []statusJSON
	for _, t := range s.transfers.update(now, e) {
		j := statusJSON{
			ID: t.label, Vertex: s.vertex.Digest, Current: t.current, Total: t.total, Timestamp: now, Started: &t.started,
		}
		if !t.ended.IsZero() {
			j.Completed = &t.ended
		}
		list = append(list, j)
	}
	if len(list) > 0 {
		r.enc.Encode(line{Statuses: list})
	}
}

func (r *rawJSON) finish(s *rawStep, e event.Finished) {
	now := r.now()
	s.vertex.Completed = &now
	switch e.Status {
	case event.Cached, event.Configured:
		s.vertex.Cached = true
	case event.Canceled:
		s.vertex.Error = "context canceled"
	case event.Failed:
		s.vertex.Error = "failed"
		if e.Err != nil {
			s.vertex.Error = e.Err.Error()
		}
	}
	r.enc.Encode(line{Vertexes: []vertexJSON{s.vertex}})
}

// Close implements Display.
func (r *rawJSON) Close(err error) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return
	}
	for _, s := range r.order {
		if s.vertex.Completed == nil {
			r.finish(s, closeAs(err))
		}
	}
	r.closed = true
	r.mu.Unlock()
	r.out.Close()
}
