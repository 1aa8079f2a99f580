package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// blobServer serves one blob, badly.
type blobServer struct {
	data     []byte
	noRanges bool
	cutAfter int  // bytes per connection, 0 for no limit
	cuts     int  // how many connections are cut; -1 for all
	stall    bool // instead of cutting, keep the connection open and silent
	requests atomic.Int32
	ranges   atomic.Int32
}

func (s *blobServer) start(tb testing.TB) (host string) {
	tb.Helper()
	server := httptest.NewServer(s)
	tb.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func (s *blobServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v2/" {
		return
	}
	n := int(s.requests.Add(1))
	rest := s.data
	if from, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok && !s.noRanges {
		s.ranges.Add(1)
		start, err := strconv.Atoi(strings.TrimSuffix(from, "-"))
		if err != nil || start > len(s.data) {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		rest = s.data[start:]
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, len(s.data)-1, len(s.data)))
		w.Header().Set("Content-Length", strconv.Itoa(len(rest)))
		w.WriteHeader(http.StatusPartialContent)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(rest)))
	if s.cutAfter > 0 && s.cutAfter < len(rest) && (n <= s.cuts || s.cuts < 0) {
		w.Write(rest[:s.cutAfter])
		w.(http.Flusher).Flush()
		if s.stall {
			<-r.Context().Done()
		}
		panic(http.ErrAbortHandler)
	}
	w.Write(rest)
}

func TestFetchBroken(t *testing.T) {
	data := noise(20, 1<<20)
	for _, test := range []struct {
		name     string
		server   *blobServer
		requests int
	}{
		{"whole", &blobServer{}, 1},
		{"cut with ranges", &blobServer{cutAfter: 300_000, cuts: 2}, 3},
		{"cut more often than there are tries, each bringing something", &blobServer{cutAfter: 50_000, cuts: -1}, 21},
		{"cut without ranges", &blobServer{cutAfter: 300_000, cuts: 2, noRanges: true}, 3},
		{"silent", &blobServer{cutAfter: 300_000, cuts: 1, stall: true}, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := test.server
			s.data = data
			c := newClient(t)
			if s.stall {
				c.stall = 300 * time.Millisecond
			}
			sink := newMemSink()
			l := layerOf(data)
			if err := c.Fetch(t.Context(), mustName(t, s.start(t)+"/a/b"), l.Desc, sink, nil); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(sink.blobs[l.Desc.Digest], data) {
				t.Error("other bytes came")
			}
			if got := int(s.requests.Load()); got != test.requests {
				t.Errorf("%d requests, want %d", got, test.requests)
			}
		})
	}
}

func TestFetchGoesOnLater(t *testing.T) {
	data := noise(21, 1<<20)
	l := layerOf(data)
	sink := newMemSink()
	c := newClient(t)
	cut := &blobServer{data: data, cutAfter: 400_000, cuts: 1}
	host := cut.start(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := c.Fetch(ctx, mustName(t, host+"/a/b"), l.Desc, sink, func(current, total int64) {
		if current >= 200_000 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want that of the context", err)
	}
	if n := len(sink.partial[l.Desc.Digest]); n < 200_000 || n > 400_000 {
		t.Fatalf("%d bytes were kept", n)
	}
	var first int64 = -1
	err = c.Fetch(t.Context(), mustName(t, host+"/a/b"), l.Desc, sink, func(current, total int64) {
		if first < 0 {
			first = current
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if first < 200_000 || cut.ranges.Load() == 0 {
		t.Errorf("started at %d with %d range requests", first, cut.ranges.Load())
	}
	if sink.resets != 0 {
		t.Error("what was there was dropped")
	}
}

func TestFetchGivesUp(t *testing.T) {
	data := noise(22, 100_000)
	s := &blobServer{data: data, cutAfter: 30_000, cuts: -1, noRanges: true}
	sink := newMemSink()
	l := layerOf(data)
	err := newClient(t).Fetch(t.Context(), mustName(t, s.start(t)+"/a/b"), l.Desc, sink, nil)
	if err == nil || !strings.Contains(err.Error(), "broke off at 30000 of 100000 bytes") {
		t.Errorf("error %v", err)
	}
	if len(sink.partial[l.Desc.Digest]) != 30_000 {
		t.Errorf("%d bytes were kept for the next time", len(sink.partial[l.Desc.Digest]))
	}
}

func TestFetchWrongBytes(t *testing.T) {
	right, wrong := noise(23, 1000), noise(24, 1000)
	l := layerOf(right)
	t.Run("from the registry", func(t *testing.T) {
		s := &blobServer{data: wrong}
		sink := newMemSink()
		err := newClient(t).Fetch(t.Context(), mustName(t, s.start(t)+"/a/b"), l.Desc, sink, nil)
		var mismatch *DigestError
		if !errors.As(err, &mismatch) || mismatch.Want != l.Desc.Digest || mismatch.Got != digest.FromBytes(wrong) {
			t.Fatalf("error %v, want a DigestError with both digests", err)
		}
		if !strings.Contains(err.Error(), mismatch.Want.String()) || !strings.Contains(err.Error(), mismatch.Got.String()) {
			t.Errorf("the message does not name both digests: %v", err)
		}
		if len(sink.partial[l.Desc.Digest]) != 0 || len(sink.blobs) != 0 {
			t.Error("the wrong bytes were kept")
		}
	})
	t.Run("left from before", func(t *testing.T) {
		s := &blobServer{data: right}
		sink := newMemSink()
		sink.partial[l.Desc.Digest] = bytes.Clone(wrong[:500])
		if err := newClient(t).Fetch(t.Context(), mustName(t, s.start(t)+"/a/b"), l.Desc, sink, nil); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(sink.blobs[l.Desc.Digest], right) {
			t.Error("other bytes came")
		}
	})
	t.Run("another size", func(t *testing.T) {
		s := &blobServer{data: right[:900]}
		err := newClient(t).Fetch(t.Context(), mustName(t, s.start(t)+"/a/b"), l.Desc, newMemSink(), nil)
		if err == nil || !strings.Contains(err.Error(), "has 900 bytes") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("streamed", func(t *testing.T) {
		s := &blobServer{data: wrong}
		r, err := newClient(t).Open(t.Context(), mustName(t, s.start(t)+"/a/b"), l.Desc, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var mismatch *DigestError
		if _, err := io.ReadAll(r); !errors.As(err, &mismatch) {
			t.Errorf("error %v, want a DigestError", err)
		}
	})
}

func TestOpenOffset(t *testing.T) {
	data := noise(25, 10_000)
	l := layerOf(data)
	for _, noRanges := range []bool{false, true} {
		s := &blobServer{data: data, noRanges: noRanges}
		r, err := newClient(t).Open(t.Context(), mustName(t, s.start(t)+"/a/b"), l.Desc, 4000)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		r.Close()
		if err != nil || !bytes.Equal(got, data[4000:]) {
			t.Errorf("noRanges %v: %d bytes, %v", noRanges, len(got), err)
		}
	}
}

// A sink that fails is no reason to ask again.
type fullSink struct{ *memSink }

func (s fullSink) Ingest(ctx context.Context, d digest.Digest, n int64) (Ingest, error) {
	in, err := s.memSink.Ingest(ctx, d, n)
	return fullIngest{in}, err
}

type fullIngest struct{ Ingest }

var errFull = errors.New("no space left on device")

func (fullIngest) Write([]byte) (int, error) { return 0, errFull }

func TestFetchFullDisk(t *testing.T) {
	data := noise(26, 1000)
	s := &blobServer{data: data}
	err := newClient(t).Fetch(t.Context(), mustName(t, s.start(t)+"/a/b"), layerOf(data).Desc, fullSink{newMemSink()}, nil)
	if !errors.Is(err, errFull) || s.requests.Load() != 1 {
		t.Errorf("error %v after %d requests", err, s.requests.Load())
	}
}

// failing answers every request with a status.
func failing(tb testing.TB, status int, header http.Header) (host string, requests *atomic.Int32) {
	tb.Helper()
	requests = new(atomic.Int32)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		requests.Add(1)
		for k, v := range header {
			w.Header()[k] = v
		}
		w.WriteHeader(status)
		io.WriteString(w, `{"errors":[{"code":"X","message":"the\u001b[31m words"}]}`)
	}))
	tb.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), requests
}

func TestErrors(t *testing.T) {
	for _, test := range []struct {
		status   int
		header   http.Header
		kind     error
		says     string
		requests int32
	}{
		{404, nil, ErrNotFound, "no registry knows it", 1},
		{401, nil, ErrUnauthorized, "strata login", 1},
		{403, nil, ErrUnauthorized, "strata login", 1},
		{500, nil, nil, "answered 500 Internal Server Error: the [31m words; the fault is the registry's", 3},
		{503, nil, nil, "answered 503", 3},
		{429, nil, nil, "strata login", 3},
		{400, nil, nil, "answered 400", 1},
	} {
		host, requests := failing(t, test.status, test.header)
		_, err := newClient(t).Resolve(t.Context(), mustName(t, host+"/me/app:1"), amd64)
		if err == nil || test.kind != nil && !errors.Is(err, test.kind) || !strings.Contains(err.Error(), test.says) || !strings.HasPrefix(err.Error(), host+"/me/app:1: ") {
			t.Errorf("%d: %v", test.status, err)
		}
		for _, kind := range []error{ErrNotFound, ErrUnauthorized, ErrUnreachable} {
			if kind != test.kind && errors.Is(err, kind) {
				t.Errorf("%d: is %v, too", test.status, kind)
			}
		}
		if n := requests.Load(); n != test.requests {
			t.Errorf("%d: %d requests, want %d", test.status, n, test.requests)
		}
	}
}

func TestUnreachable(t *testing.T) {
	s := httptest.NewServer(nil)
	host := strings.TrimPrefix(s.URL, "http://")
	s.Close()
	_, err := newClient(t).Resolve(t.Context(), mustName(t, host+"/me/app:1"), amd64)
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "connection refused") || !strings.Contains(err.Error(), host) {
		t.Errorf("error %v", err)
	}
}

func TestManifestRefused(t *testing.T) {
	hex := strings.Repeat("a", 64)
	image := `{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:` + hex + `","size":2},"layers":[]`
	for _, test := range []struct{ name, kind, body, says string }{
		{"schema 1", dockerSchema1, `{"schemaVersion":1,"fsLayers":[]}`, "old format (schema 1)"},
		{"a web page", "text/html", "<html>", "is this host a registry?"},
		{"ambiguous", ocispec.MediaTypeImageManifest, image + `,"manifests":[]}`, "ambiguous"},
		{"neither", ocispec.MediaTypeImageManifest, `{"schemaVersion":2}`, "not an image"},
		{"a bad digest", ocispec.MediaTypeImageManifest, strings.Replace(image, hex, "../etc", 1) + "}", "bad descriptor"},
		{"a huge config", ocispec.MediaTypeImageManifest, strings.Replace(image, `"size":2`, `"size":99999999`, 1) + "}", "more than the"},
		{"too large", ocispec.MediaTypeImageManifest, `{"x":"` + strings.Repeat("x", maxManifest) + `"}`, "larger than"},
		{"an index of nothing", ocispec.MediaTypeImageIndex, `{"schemaVersion":2,"manifests":[]}`, "lists no image"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", test.kind)
				io.WriteString(w, test.body)
			}))
			defer s.Close()
			_, err := newClient(t).Resolve(t.Context(), mustName(t, strings.TrimPrefix(s.URL, "http://")+"/me/app:1"), amd64)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want one with %q", err, test.says)
			}
		})
	}
}

func TestManifestOtherDigest(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "{}") }))
	defer s.Close()
	want := digest.FromString("something else")
	_, err := newClient(t).Resolve(t.Context(), mustName(t, strings.TrimPrefix(s.URL, "http://")+"/me/app@"+want.String()), amd64)
	var mismatch *DigestError
	if !errors.As(err, &mismatch) || mismatch.Want != want || mismatch.Got != digest.FromString("{}") {
		t.Errorf("error %v", err)
	}
}
