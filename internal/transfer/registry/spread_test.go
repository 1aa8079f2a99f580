package registry

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// slowServer gives each connection so many bytes a second.
type slowServer struct {
	data     []byte
	rate     int
	noRanges bool
	cut      int64 // the request for which an answer breaks off; 0 for none
	busy     bool  // for more than one at a time
	wrong    bool  // bytes of ranges
	requests atomic.Int64
	open     atomic.Int64 // answers under way
	most     atomic.Int64 // at a time
}

func (s *slowServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := s.requests.Add(1)
	open := s.open.Add(1)
	defer s.open.Add(-1)
	for most := s.most.Load(); open > most && !s.most.CompareAndSwap(most, open); most = s.most.Load() {
	}
	slow := &slowWriter{ResponseWriter: w, rate: s.rate, left: 1 << 40}
	if n == s.cut {
		slow.left = 1 << 20
	}
	if s.noRanges {
		r.Header.Del("Range")
	}
	if s.busy && open > 1 {
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	data := s.data
	if s.wrong && r.Header.Get("Range") != "" {
		data = bytes.Repeat([]byte("?"), len(data))
	}
	http.ServeContent(slow, r, "", time.Time{}, bytes.NewReader(data))
}

type slowWriter struct {
	http.ResponseWriter
	rate, left int
}

func (w *slowWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		panic(http.ErrAbortHandler)
	}
	time.Sleep(time.Duration(len(p)) * time.Second / time.Duration(w.rate))
	return w.ResponseWriter.Write(p)
}

func TestSpread(t *testing.T) {
	const always, never = 1 << 60, 0
	const rate = 200 << 20
	data := noise(30, 30<<20+123)
	small := data[:spreadParts*mostPart]
	for _, test := range []struct {
		name        string
		server      *slowServer
		slow        float64
		most, least int64 // connections at a time, requests
	}{
		{"slow", &slowServer{data: data, rate: rate}, always, spreadParts + 1, 8},
		{"quick", &slowServer{data: data, rate: rate}, never, 1, 1},
		{"small", &slowServer{data: small, rate: rate}, always, 1, 1},
		{"no ranges", &slowServer{data: data, rate: rate, noRanges: true}, always, spreadParts + 1, 2},
		{"busy", &slowServer{data: data, rate: rate, busy: true}, always, spreadParts + 1, 1 + spreadParts},
		{"the first part breaks off", &slowServer{data: data, rate: rate, cut: 2}, always, spreadParts + 1, 2},
		{"a later part breaks off", &slowServer{data: data, rate: rate, cut: 7}, always, spreadParts + 1, 8},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := test.server
			server := httptest.NewServer(s)
			defer server.Close()
			sink, l, c := newMemSink(), layerOf(s.data), newClient(t)
			c.slow = test.slow
			at := int64(0)
			err := c.Fetch(t.Context(), mustName(t, strings.TrimPrefix(server.URL, "http://")+"/a/b"), l.Desc, sink, func(current, total int64) {
				if current < at || total != l.Desc.Size {
					t.Errorf("at %d of %d after %d", current, total, at)
				}
				at = current
			})
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(sink.blobs[l.Desc.Digest], s.data) || sink.resets != 0 || s.busy && s.requests.Load() != test.least || at != l.Desc.Size {
				t.Errorf("other bytes came, or it ends at %d", at)
			}
			if most, n := s.most.Load(), s.requests.Load(); most > test.most || test.most > 1 && most < 2 || n < test.least || test.most == 1 && n > 1 {
				t.Errorf("%d requests, %d at a time", n, most)
			}
			if c.spreading.Load() {
				t.Error("it still uses several connections")
			}
		})
	}
}

// TestSpreadOfOtherBytes has the digest tell of wrong bytes as ever.
func TestSpreadOfOtherBytes(t *testing.T) {
	data := noise(31, 30<<20)
	l := layerOf(data)
	other := bytes.Clone(data)
	other[20<<20] ^= 1
	server := httptest.NewServer(&slowServer{data: other, rate: 200 << 20})
	defer server.Close()
	sink := newMemSink()
	c := newClient(t)
	c.slow = 1 << 60
	err := c.Fetch(t.Context(), mustName(t, strings.TrimPrefix(server.URL, "http://")+"/a/b"), l.Desc, sink, nil)
	if err == nil || len(sink.blobs) != 0 {
		t.Errorf("other bytes were taken: %v", err)
	}
}

// TestSpreadOfWrongRanges has a registry that gets ranges wrong asked for all of the blob again.
func TestSpreadOfWrongRanges(t *testing.T) {
	data := noise(32, 30<<20)
	l := layerOf(data)
	server := httptest.NewServer(&slowServer{data: data, rate: 200 << 20, wrong: true})
	defer server.Close()
	sink := newMemSink()
	c := newClient(t)
	c.slow = 1 << 60
	err := c.Fetch(t.Context(), mustName(t, strings.TrimPrefix(server.URL, "http://")+"/a/b"), l.Desc, sink, nil)
	if err != nil || !bytes.Equal(sink.blobs[l.Desc.Digest], data) || sink.resets != 1 {
		t.Errorf("%d resets: %v", sink.resets, err)
	}
}

// TestSpreadPassesOn has what came of the first part passed on before the rest is there.
func TestSpreadPassesOn(t *testing.T) {
	data := noise(33, 30<<20)
	l := layerOf(data)
	passed := make(chan struct{})
	var late atomic.Bool
	began, halted := int64(0), true
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			w = &haltingWriter{ResponseWriter: w, left: 100_000, until: passed, late: &late}
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}))
	defer server.Close()
	sink := newMemSink()
	c := newClient(t)
	c.slow = 1 << 60
	err := c.Fetch(t.Context(), mustName(t, strings.TrimPrefix(server.URL, "http://")+"/a/b"), l.Desc, sink, func(current, total int64) {
		if began == 0 && c.spreading.Load() {
			began = current
		}
		if halted && began > 0 && current >= began+50_000 {
			halted = false
			close(passed)
		}
	})
	if err != nil || late.Load() || !bytes.Equal(sink.blobs[l.Desc.Digest], data) {
		t.Errorf("nothing was passed on: %v, %v", late.Load(), err)
	}
}

// haltingWriter waits after some bytes, for something or for 10 s, after which it breaks off.
type haltingWriter struct {
	http.ResponseWriter
	left  int
	until chan struct{}
	late  *atomic.Bool
}

func (w *haltingWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		select {
		case <-w.until:
		case <-time.After(10 * time.Second):
			w.late.Store(true)
			panic(http.ErrAbortHandler)
		}
	}
	return w.ResponseWriter.Write(p)
}
