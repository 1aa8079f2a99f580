package remote_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/source/remote"
	"github.com/strata-build/strata/internal/builder/source/remote/remotetest"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/store"
)

// site is a store and a web server.
type site struct {
	*testing.T
	store  *store.Store
	server *remotetest.Server
	http   *httptest.Server
}

func newSite(t *testing.T) *site {
	s, err := store.Open(t.TempDir())
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	w := &site{T: t, store: s, server: &remotetest.Server{}}
	w.http = httptest.NewServer(w.server)
	t.Cleanup(w.http.Close)
	return w
}

// get fetches a path as a build of its own does.
func (w *site) get(path string, pinned digest.Digest) (string, *remote.File, error) {
	f := remote.New(w.store)
	defer f.Close()
	file, err := f.File(context.Background(), w.http.URL+path, pinned)
	if err != nil {
		return "", nil, err
	}
	data, err := io.ReadAll(file.Reader())
	check(w.T, err)
	if digest.FromBytes(data) != file.Digest || file.Size != int64(len(data)) {
		w.Errorf("%s: %d bytes of %s, and it says %d of %s", path, len(data), digest.FromBytes(data), file.Size, file.Digest)
	}
	return string(data), file, nil
}

func TestConditions(t *testing.T) {
	old := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, test := range map[string]struct {
		first, second remotetest.Answer
		want          string // of the second build's request
	}{
		"etag":              {remotetest.Answer{Body: "a", ETag: `"1"`}, remotetest.Answer{Body: "a", ETag: `"1"`}, "304 0"},
		"weak etag":         {remotetest.Answer{Body: "a", ETag: `W/"1"`}, remotetest.Answer{Body: "a", ETag: `W/"1"`}, "304 0"},
		"new etag":          {remotetest.Answer{Body: "a", ETag: `"1"`}, remotetest.Answer{Body: "b", ETag: `"2"`}, "200 1"},
		"date":              {remotetest.Answer{Body: "a", Modified: old}, remotetest.Answer{Body: "a", Modified: old}, "304 0"},
		"new date":          {remotetest.Answer{Body: "a", Modified: old}, remotetest.Answer{Body: "b", Modified: old.Add(time.Hour)}, "200 1"},
		"etag before date":  {remotetest.Answer{Body: "a", ETag: `"1"`, Modified: old}, remotetest.Answer{Body: "b", ETag: `"2"`, Modified: old}, "200 1"},
		"nothing to go by":  {remotetest.Answer{Body: "a"}, remotetest.Answer{Body: "b"}, "200 1"},
		"just now":          {remotetest.Answer{Body: "a", Modified: old, Date: old.Add(time.Second)}, remotetest.Answer{Body: "b", Modified: old}, "200 1"},
		"two seconds ago":   {remotetest.Answer{Body: "a", Modified: old, Date: old.Add(2 * time.Second)}, remotetest.Answer{Body: "a", Modified: old}, "304 0"},
		"no more etag":      {remotetest.Answer{Body: "a", ETag: `"1"`}, remotetest.Answer{Body: "b"}, "200 1"},
		"empty, and larger": {remotetest.Answer{ETag: `"1"`}, remotetest.Answer{Body: "b", ETag: `"2"`}, "200 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newSite(t)
			w.server.Set("/f", test.first)
			if got, _, err := w.get("/f", ""); err != nil || got != test.first.Body {
				t.Fatalf("first: %q, %v", got, err)
			}
			w.server.Requests()
			w.server.Set("/f", test.second)
			if got, _, err := w.get("/f", ""); err != nil || got != test.second.Body {
				t.Errorf("second: %q, %v", got, err)
			}
			if got := w.server.Requests(); !slices.Equal(got, []string{"GET /f " + test.want}) {
				t.Errorf("requests: %q, want one of %s", got, test.want)
			}
		})
	}
}

// The bytes of a server that knows no conditions are not read where their ETag is known.
func TestDeafServerIsCutShort(t *testing.T) {
	if testing.Short() {
		t.Skip("needs three seconds: run without -short")
	}
	w := newSite(t)
	body := strings.Repeat("x", 50<<20)
	w.server.Set("/f", remotetest.Answer{Body: body, ETag: `"1"`, Deaf: true})
	_, _, err := w.get("/f", "")
	check(t, err)
	w.server.Requests()
	if got, _, err := w.get("/f", ""); err != nil || got != body {
		t.Fatal(err)
	}
	w.http.Close() // waits for the request
	if got := w.server.Requests(); len(got) != 1 || strings.HasSuffix(got[0], "200 52428800") {
		t.Errorf("requests: %q", got)
	}
}

func TestPinned(t *testing.T) {
	w := newSite(t)
	w.server.Set("/f", remotetest.Answer{Body: "a"})
	sum := digest.FromString("a")
	for range 2 {
		if got, _, err := w.get("/f", sum); err != nil || got != "a" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if got, _, err := w.get("/f", digest.SHA512.FromString("a")); err != nil || got != "a" {
		t.Fatalf("sha512: %q, %v", got, err)
	}
	if got := w.server.Requests(); len(got) != 1 {
		t.Errorf("with its digest and the bytes here the server was asked: %q", got)
	}
	for _, other := range []digest.Digest{digest.FromString("b"), digest.SHA384.FromString("b"), digest.SHA512.FromString("b")} {
		if _, _, err := w.get("/f", other); err == nil || !strings.Contains(err.Error(), "digest mismatch") || !strings.Contains(err.Error(), "expected: "+other.String()) {
			t.Errorf("%s: %v", other, err)
		}
	}
	if got, _, err := w.get("/f", ""); err != nil || got != "a" {
		t.Errorf("after a mismatch: %q, %v", got, err)
	}
}

func TestNothingDamagedIsTaken(t *testing.T) {
	w := newSite(t)
	w.server.Set("/f", remotetest.Answer{Body: "right", ETag: `"1"`})
	_, file, err := w.get("/f", "")
	check(t, err)
	dirs, err := filepath.Glob(filepath.Join(w.store.Root(), "downloads", "*"))
	check(t, err)
	for name, damage := range map[string]func() error{
		"short":  func() error { return os.Truncate(filepath.Join(dirs[0], file.Digest.Encoded()), 2) },
		"gone":   func() error { return os.Remove(filepath.Join(dirs[0], file.Digest.Encoded())) },
		"answer": func() error { return os.WriteFile(filepath.Join(dirs[0], "answer"), []byte("{"), 0o600) },
		"path": func() error {
			return os.WriteFile(filepath.Join(dirs[0], "answer"), []byte(`{"etag":"\"1\"","digest":"../../meta.db","size":1}`), 0o600)
		},
	} {
		check(t, damage())
		if got, _, err := w.get("/f", ""); err != nil || got != "right" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// A download that broke off goes on where it was, in this build or a later one, if it is the same file still.
func TestResume(t *testing.T) {
	body := strings.Repeat("0123456789", 100_000)
	w := newSite(t)
	w.server.Set("/f", remotetest.Answer{Body: body, ETag: `"1"`, Cut: 400_000})
	if got, _, err := w.get("/f", ""); err != nil || got != body {
		t.Fatal(err)
	}
	if got := w.server.Requests(); !slices.Equal(got, []string{"GET /f 200 400000", "GET /f 206 600000"}) {
		t.Errorf("requests: %q", got)
	}
	// Without something to tell versions apart by, it begins again.
	w.server.Set("/g", remotetest.Answer{Body: body, Cut: 400_000})
	if got, _, err := w.get("/g", ""); err != nil || got != body {
		t.Fatal(err)
	}
	if got := w.server.Requests(); !slices.Equal(got, []string{"GET /g 200 400000", "GET /g 200 1000000"}) {
		t.Errorf("requests: %q", got)
	}
	// Another process left a part; the file has changed since.
	w.server.Set("/h", remotetest.Answer{Body: body, ETag: `"1"`, Cut: 400_000})
	ctx, cancel := context.WithCancel(context.Background())
	f := remote.New(w.store)
	f.Events = listener(func(e event.Event) {
		if p, ok := e.(event.Progress); ok && p.Current > 200_000 {
			cancel()
		}
	})
	if _, err := f.File(ctx, w.http.URL+"/h", ""); !errors.Is(err, context.Canceled) {
		t.Fatalf("canceled: %v", err)
	}
	other := strings.ToUpper(strings.Repeat("abcdefghij", 100_000))
	w.server.Set("/h", remotetest.Answer{Body: other, ETag: `"2"`})
	if got, _, err := w.get("/h", ""); err != nil || got != other {
		t.Errorf("another version: %v", err)
	}
}

func TestManyAtOnce(t *testing.T) {
	w := newSite(t)
	w.server.Set("/f", remotetest.Answer{Body: "a", ETag: `"1"`})
	f := remote.New(w.store)
	defer f.Close()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := f.File(context.Background(), w.http.URL+"/f", ""); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() {
			if got, _, err := w.get("/f", ""); err != nil || got != "a" { // a build of its own
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	all.Wait()
	sent := 0
	for _, r := range w.server.Requests() {
		if strings.HasSuffix(r, "200 1") {
			sent++
		}
	}
	if sent != 1 {
		t.Errorf("the bytes were sent %d times", sent)
	}
}

func TestHTTPErrors(t *testing.T) {
	w := newSite(t)
	w.server.Set("/busy", remotetest.Answer{Status: http.StatusServiceUnavailable})
	w.server.Set("/loop", remotetest.Answer{Redirect: "/loop"})
	w.server.Set("/private", remotetest.Answer{Body: "a", Bearer: "word"})
	for path, want := range map[string]string{
		"/none": "404 Not Found; see whether the address is right", "/busy": "503 Service Unavailable; see whether",
		"/loop": "stopped after 10 redirects", "/private": "HTTP_AUTH_TOKEN_127.0.0.1",
	} {
		if _, _, err := w.get(path, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	n := 0
	for _, r := range w.server.Requests() {
		if strings.HasPrefix(r, "GET /busy") {
			n++
		}
	}
	if n != 4 {
		t.Errorf("a busy server was asked %d times", n)
	}
	for id, value := range map[string]string{"HTTP_AUTH_TOKEN_127.0.0.1": "word\n", "HTTP_AUTH_HEADER_127.0.0.1": "Bearer word"} {
		f := remote.New(w.store)
		f.Secret = func(asked string) ([]byte, error) {
			if asked == id {
				return []byte(value), nil
			}
			return nil, nil
		}
		if _, err := f.File(context.Background(), w.http.URL+"/private", ""); err != nil {
			t.Errorf("%s: %v", id, err)
		}
		check(t, f.Close())
	}
	w.http.Close()
	var unreachable *remote.UnreachableError
	if _, _, err := w.get("/private", ""); !errors.As(err, &unreachable) || unreachable.Known != digest.FromString("a").String() {
		t.Errorf("a server that is gone: %v", err)
	}
}

// A password in an address is in no message and in no file of the store.
func TestPasswordsAreNotTold(t *testing.T) {
	w := newSite(t)
	w.server.Set("/f", remotetest.Answer{Body: "a", ETag: `"1"`})
	address := strings.Replace(w.http.URL, "http://", "http://me:hunter2@", 1)
	f := remote.New(w.store)
	defer f.Close()
	if _, err := f.File(context.Background(), address+"/f", ""); err != nil {
		t.Error(err)
	}
	for _, path := range []string{"/none", "/f"} {
		if path == "/f" {
			w.http.Close()
		}
		_, err := remote.New(w.store).File(context.Background(), address+path, "")
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", path, err)
		}
	}
	check(t, filepath.WalkDir(w.store.Root(), func(p string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(p)
		if strings.Contains(string(data), "hunter2") {
			t.Errorf("%s has the password", p)
		}
		return err
	}))
}

func TestUnknownCertificate(t *testing.T) {
	w := newSite(t)
	tls := httptest.NewTLSServer(w.server)
	defer tls.Close()
	_, err := remote.New(w.store).File(context.Background(), tls.URL+"/f", "")
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate of nobody: %v", err)
	}
}

// A server that stops sending is asked for the rest.
func TestStall(t *testing.T) {
	w := newSite(t)
	body := strings.Repeat("x", 200_000)
	asked := 0
	slow := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		asked++
		rw.Header().Set("ETag", `"1"`)
		if asked > 1 {
			http.ServeContent(rw, r, "", time.Time{}, strings.NewReader(body))
			return
		}
		rw.Header().Set("Content-Length", "200000")
		io.WriteString(rw, body[:100_000])
		rw.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer slow.Close()
	f := remote.New(w.store)
	defer f.Close()
	f.Stall = 300 * time.Millisecond
	file, err := f.File(context.Background(), slow.URL, "")
	check(t, err)
	if file.Digest != digest.FromString(body) || asked != 2 {
		t.Errorf("%d bytes after %d requests", file.Size, asked)
	}
}

// listener is a sink for one goroutine.
type listener func(event.Event)

func (l listener) Send(e event.Event) { l(e) }

func TestTransfersAreTold(t *testing.T) {
	w := newSite(t)
	body := strings.Repeat("abcdefghij", 100_000)
	w.server.Set("/f", remotetest.Answer{Body: body, ETag: `"1"`, Cut: 400_000})
	var told []event.Event
	get := func() {
		f := remote.New(w.store)
		defer f.Close()
		f.Events = listener(func(e event.Event) { told = append(told, e) })
		if _, err := f.File(context.Background(), strings.Replace(w.http.URL, "://", "://me:password@", 1)+"/f", ""); err != nil {
			t.Fatal(err)
		}
	}
	get()
	started, ok := told[0].(event.Started)
	if !ok || started.Vertex.Name == "" || strings.Contains(started.Vertex.Name, "password") {
		t.Fatalf("it begins with %+v", told[0])
	}
	var last int64
	for _, e := range told[1 : len(told)-2] {
		p, ok := e.(event.Progress)
		if !ok || p.Vertex != started.Vertex || p.Current < last || p.Total != int64(len(body)) {
			t.Errorf("%+v after %d", e, last)
		}
		last = p.Current
	}
	if f, ok := told[len(told)-1].(event.Finished); !ok || f.Status != event.Done {
		t.Errorf("it ends with %+v", told[len(told)-1])
	}
	before := len(told)
	get() // nothing moves
	if len(told) != before {
		t.Errorf("told of %+v", told[before:])
	}
}

// A token stays with the scheme, host and port that it was given for.
func TestTokenDoesNotFollowRedirect(t *testing.T) {
	var leaked atomic.Value
	other := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leaked.Store(r.Header["Authorization"])
		io.WriteString(w, "file")
	})
	plain, secure := httptest.NewServer(other), httptest.NewTLSServer(other)
	defer plain.Close()
	defer secure.Close()
	for _, to := range []*httptest.Server{plain, secure} {
		w := newSite(t)
		w.server.Set("/away", remotetest.Answer{Redirect: to.URL + "/file", Bearer: "word"})
		f := remote.New(w.store)
		f.Secret = func(id string) ([]byte, error) {
			if id == "HTTP_AUTH_TOKEN_127.0.0.1" {
				return []byte("word"), nil
			}
			return nil, nil
		}
		leaked.Store([]string{"never asked"})
		_, err := f.File(context.Background(), w.http.URL+"/away", "")
		if to == plain && err != nil {
			t.Error(err)
		}
		if got := leaked.Load().([]string); to == plain && len(got) > 0 || to == secure && got[0] != "never asked" {
			t.Errorf("%s was sent %q", to.URL, got)
		}
	}
}
