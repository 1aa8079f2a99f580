package placetest

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/strata-build/strata/internal/cache/packed"
)

// ObjectServer is a server of objects under paths, as WebDAV servers and artefact stores are, which knows ETags and their
// conditions (RFC 9110, 13.1). It also answers S3's ListObjectsV2 and takes bodies in S3's signed chunks, without looking
// at any signature: what a server of S3 is otherwise is tested with one (make test-places).
type ObjectServer struct {
	URL string

	mu      sync.Mutex
	objects map[string][]byte
	written map[string]time.Time
	fault   func(w http.ResponseWriter, r *http.Request) bool
	counts  map[string]int
	bytes   int64
	stored  int64 // bytes of objects that came in
	// answer answers in the place of the protocol above, under the lock; nil for that.
	answer func(w http.ResponseWriter, r *http.Request, body []byte)
}

// StartObjects starts a server, which stops with the test.
func StartObjects(t *testing.T) *ObjectServer {
	t.Helper()
	s, stop := NewObjects()
	t.Cleanup(stop)
	return s
}

// NewObjects starts a server.
func NewObjects() (s *ObjectServer, stop func()) {
	s = &ObjectServer{objects: map[string][]byte{}, written: map[string]time.Time{}, counts: map[string]int{}}
	server := httptest.NewServer(s)
	s.URL = server.URL
	return s, server.Close
}

// Fail has a function answer requests; it says whether it did. nil ends that.
func (s *ObjectServer) Fail(fault func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// Count is how many requests of a method there were since it was last called, and how many bytes of objects went out.
func (s *ObjectServer) Count(method string) (requests int, sent int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests, sent = s.counts[method], s.bytes
	s.counts, s.bytes = map[string]int{}, 0
	return requests, sent
}

// Clear removes all objects.
func (s *ObjectServer) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.objects)
}

// Received is how many bytes of objects came in since it was last called.
func (s *ObjectServer) Received() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.stored
	s.stored = 0
	return n
}

// Damage changes a byte in each object whose path has one of the parts.
func (s *ObjectServer) Damage(parts ...string) func(*testing.T) {
	return func(*testing.T) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for name, data := range s.objects {
			if slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(name, p) }) {
				s.objects[name] = bytes.Clone(data)
				s.objects[name][len(data)/2] ^= 1
			}
		}
	}
}

// Names are the paths of all objects.
func (s *ObjectServer) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.objects))
}

func (s *ObjectServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	fault := s.fault
	s.counts[r.Method]++
	s.mu.Unlock()
	if fault != nil && fault(w, r) {
		return
	}
	name := r.URL.Path
	var body []byte
	if r.Method == http.MethodPut || r.Method == http.MethodPost {
		var err error
		if body, err = readBody(r); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answer != nil {
		s.answer(w, r, body)
		return
	}
	data, there := s.objects[name]
	switch {
	case r.Method == http.MethodGet && r.URL.Query().Get("list-type") == "2":
		s.list(w, name, r.URL.Query().Get("prefix"))
	case r.Method == http.MethodPut:
		if none := r.Header.Get("If-None-Match"); none == "*" && there {
			w.WriteHeader(http.StatusPreconditionFailed)
			return
		}
		if match := r.Header.Get("If-Match"); match != "" && (!there || strings.Trim(match, `"`) != strings.Trim(etag(data), `"`)) {
			w.WriteHeader(http.StatusPreconditionFailed)
			return
		}
		s.put(name, body)
		w.Header().Set("ETag", etag(body))
	case r.Method == http.MethodDelete:
		delete(s.objects, name)
		w.WriteHeader(http.StatusNoContent)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.WriteHeader(http.StatusMethodNotAllowed)
	case !there:
		w.WriteHeader(http.StatusNotFound)
	default:
		s.give(w, r, name)
	}
}

// give answers with an object.
func (s *ObjectServer) give(w http.ResponseWriter, r *http.Request, name string) {
	data := s.objects[name]
	w.Header().Set("ETag", etag(data))
	if r.Method == http.MethodGet {
		s.bytes += int64(len(data))
	}
	http.ServeContent(w, r, "", s.written[name], bytes.NewReader(data))
}

// put keeps an object.
func (s *ObjectServer) put(name string, data []byte) {
	s.objects[name], s.written[name] = data, time.Now()
	s.stored += int64(len(data))
}

func etag(data []byte) string {
	sum := sha256.Sum256(data)
	return `"` + hex.EncodeToString(sum[:8]) + `"`
}

// readBody reads a body, also one that is in signed chunks
// (docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html).
func readBody(r *http.Request) ([]byte, error) {
	if !strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		data, err := io.ReadAll(r.Body)
		if err == nil && r.ContentLength >= 0 && int64(len(data)) != r.ContentLength {
			err = io.ErrUnexpectedEOF
		}
		return data, err
	}
	var all []byte
	in := bufio.NewReader(r.Body)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil, err
		}
		digits, _, _ := strings.Cut(strings.TrimSpace(line), ";")
		size, err := strconv.ParseInt(digits, 16, 32)
		if err != nil || size == 0 {
			return all, err
		}
		chunk := make([]byte, size+2)
		if _, err := io.ReadFull(in, chunk); err != nil {
			return nil, err
		}
		all = append(all, chunk[:size]...)
	}
}

// list answers ListObjectsV2.
func (s *ObjectServer) list(w http.ResponseWriter, bucket, prefix string) {
	type content struct {
		Key          string
		Size         int
		ETag         string
		LastModified string
	}
	var answer struct {
		XMLName     xml.Name `xml:"ListBucketResult"`
		IsTruncated bool
		KeyCount    int
		Contents    []content
	}
	under := strings.TrimSuffix(bucket, "/") + "/"
	for _, name := range slices.Sorted(maps.Keys(s.objects)) {
		key, ok := strings.CutPrefix(name, under)
		if ok && strings.HasPrefix(key, prefix) {
			answer.Contents = append(answer.Contents, content{key, len(s.objects[name]), etag(s.objects[name]), s.written[name].UTC().Format("2006-01-02T15:04:05.000Z")})
		}
	}
	answer.KeyCount = len(answer.Contents)
	w.Header().Set("Content-Type", "application/xml")
	fmt.Fprint(w, xml.Header)
	_ = xml.NewEncoder(w).Encode(answer)
}

// Faults has a place meet what stores and lines do. open gives a place on a machine of its own, title what it is called.
// Each fault ends with the test.
func Faults(t *testing.T, s *ObjectServer, site *Site) {
	writer := site.Machine(t)
	steps := Steps(t, writer, "a")
	site.put(t, writer, steps)
	whole := t
	mounts := []string{contents(t, "a")}
	if err := send(t.Context(), t, site.keeper(t, writer), mounts[0]); err != nil {
		t.Fatal(err)
	}
	for _, f := range []struct {
		name string
		// passes says that the fault is over after some requests, and the place has tried again.
		passes bool
		fault  func() func(http.ResponseWriter, *http.Request) bool
	}{
		{"500 once", true, times(1, status(http.StatusInternalServerError))},
		{"throttled twice", true, times(2, status(http.StatusServiceUnavailable))},
		{"too many requests", true, times(1, status(http.StatusTooManyRequests))},
		{"cut once", true, times(1, cut)},
		{"500 for ever", false, times(1<<30, status(http.StatusInternalServerError))},
		{"403 for ever", false, times(1<<30, status(http.StatusForbidden))},
		{"cut for ever", false, times(1<<30, cut)},
		{"half of each body", false, times(1<<30, s.half)},
	} {
		t.Run(f.name, func(t *testing.T) {
			defer s.Fail(nil)
			s.Fail(f.fault())
			reader := site.Machine(t)
			p, err := site.Open(t, reader)
			if err == nil {
				_, err = p.Get(t.Context(), steps[0].Key)
			}
			if f.passes != (err == nil) {
				t.Errorf("getting: %v", err)
			}
			s.Fail(f.fault())
			others := Steps(t, writer, cmp.Or(strings.ReplaceAll(f.name, " ", "-"), "b"))
			if p, err = site.Open(t, writer); err == nil {
				err = p.Put(t.Context(), others)
			}
			if f.passes != (err == nil) {
				t.Errorf("putting: %v", err)
			}
			s.Fail(f.fault())
			mounts = append(mounts, contents(whole, f.name))
			if p, err = site.Open(t, writer); err == nil {
				err = send(t.Context(), t, p.(packed.Keeper), mounts[len(mounts)-1])
			}
			if f.passes != (err == nil) {
				t.Errorf("putting a mount: %v", err)
			}
			// What was there is whole, and what was put is there or not, but never in part.
			s.Fail(nil)
			expectMount(t, site.keeper(t, site.Machine(t)), mounts...)
			reader = site.Machine(t)
			p = site.open(t, reader)
			for _, step := range steps {
				expect(t, p, step)
			}
			for _, step := range others {
				if _, err := p.Get(t.Context(), step.Key); err == nil && step.Record.Layer != "" {
					fetch(t, reader, step.Record.Layer)
				}
			}
		})
	}
}

// times has a fault happen to the first n requests.
func times(n int, fault func(http.ResponseWriter, *http.Request)) func() func(http.ResponseWriter, *http.Request) bool {
	return func() func(http.ResponseWriter, *http.Request) bool {
		var mu sync.Mutex
		left := n
		return func(w http.ResponseWriter, r *http.Request) bool {
			mu.Lock()
			defer mu.Unlock()
			if left == 0 {
				return false
			}
			left--
			fault(w, r)
			return true
		}
	}
}

func status(code int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(code)
	}
}

// cut ends the connection in place of an answer.
func cut(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// half takes half of a body, or gives half of an object, and then ends the connection.
func (s *ObjectServer) half(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPut {
		_, _ = io.CopyN(io.Discard, r.Body, r.ContentLength/2)
		panic(http.ErrAbortHandler)
	}
	s.mu.Lock()
	data := s.objects[r.URL.Path]
	s.mu.Unlock()
	w.Header().Set("Content-Length", strconv.Itoa(max(len(data), 2)))
	w.Header().Set("Last-Modified", time.Unix(1, 0).UTC().Format(http.TimeFormat))
	w.Header().Set("ETag", etag(data))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(data[:len(data)/2])
	panic(http.ErrAbortHandler)
}
