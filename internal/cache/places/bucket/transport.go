package bucket

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// stall is how long a store may take to begin an answer, or send nothing of it, before it counts as gone. A limit on the
// whole would be wrong: layers may be large and lines slow.
const stall = time.Minute

// errStalled ends an answer of which nothing came for too long.
var errStalled = errors.New("the store stopped sending data")

// Transport is what stores are reached through: as http.DefaultTransport, with proxies from the environment, but it gives
// up a store that has stopped to answer.
func Transport() http.RoundTripper { return newTransport(stall) }

func newTransport(stall time.Duration) http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = stall
	t.MaxIdleConnsPerHost = 16
	t.DisableCompression = true // blobs are as they are, and lists are compressed
	return &transport{t, stall}
}

type transport struct {
	next  http.RoundTripper
	stall time.Duration
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	if err == nil {
		resp.Body = newWatched(resp.Body, t.stall)
	}
	return resp, err
}

// watched is a body that is closed when nothing of it comes for too long.
type watched struct {
	body    io.ReadCloser
	timer   *time.Timer
	stall   time.Duration
	stalled atomic.Bool
}

func newWatched(body io.ReadCloser, stall time.Duration) *watched {
	w := &watched{body: body, stall: stall}
	w.timer = time.AfterFunc(stall, func() {
		w.stalled.Store(true)
		body.Close()
	})
	return w
}

func (w *watched) Read(p []byte) (int, error) {
	w.timer.Reset(w.stall)
	n, err := w.body.Read(p)
	if err != nil && w.stalled.Load() {
		err = errStalled
	}
	return n, err
}

func (w *watched) Close() error {
	w.timer.Stop()
	return w.body.Close()
}
