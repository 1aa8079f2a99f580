package transfer

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/transfer/registry"
	"github.com/strata-build/strata/internal/transfer/registry/registrytest"
)

// tide is a proxy that lets requests through in waves: all that have come when for a while none came. So the number
// of waves is how many round trips follow one another, however slow the machine is.
type tide struct {
	address string

	mu       sync.Mutex
	requests []string
	waves    int
	turn     *time.Timer
	open     chan struct{} // of the wave that gathers; nil for none
}

// quiet is for how long no request comes before a wave is let through.
const quiet = 60 * time.Millisecond

func startTide(t *testing.T, registryAddress string) *tide {
	w := &tide{}
	forward := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: registryAddress})
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		<-w.arrive(r.Method + " " + r.URL.Path)
		forward.ServeHTTP(rw, r)
	}))
	t.Cleanup(s.Close)
	w.address = strings.TrimPrefix(s.URL, "http://")
	return w
}

func (w *tide) arrive(request string) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests = append(w.requests, request)
	if w.open == nil {
		w.open = make(chan struct{})
		w.turn = time.AfterFunc(quiet, w.pass)
	} else {
		w.turn.Reset(quiet)
	}
	return w.open
}

func (w *tide) pass() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open != nil {
		close(w.open)
		w.open = nil
		w.waves++
	}
}

// expect compares what came since the last time.
func (w *tide) expect(t *testing.T, what string, waves int, methods ...string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	var got []string
	for _, r := range w.requests {
		method, _, _ := strings.Cut(r, " ")
		got = append(got, method)
	}
	slices.Sort(got)
	slices.Sort(methods)
	if w.waves != waves || !slices.Equal(got, methods) {
		t.Errorf("%s took %d round trips, want %d, with %s", what, w.waves, waves, strings.Join(w.requests, ", "))
	}
	w.requests, w.waves = nil, 0
}

// What a repository was seen to have is not asked about when an image is pushed there, and what it lacks all the same
// is sent.
func TestRoundTrips(t *testing.T) {
	m := newMover(t)
	w := startTide(t, registrytest.Start(t))
	name := w.address + "/me/app"
	id := built(t, m, name+":1")
	push := func(tag string) { // by a process of its own, which remembers nothing
		t.Helper()
		again := New(m.Store, registry.New(registry.Config{}), amd64)
		if _, err := m.Store.SetName(named(t, name+":"+tag), id, ""); err != nil {
			t.Fatal(err)
		}
		if _, err := again.Push(t.Context(), named(t, name+":"+tag), nil); err != nil {
			t.Fatal(err)
		}
	}
	push("1") // small blobs, of which nobody knows, are sent without asking; the first request finds out that there is no TLS
	w.expect(t, "the first push", 4, "POST", "POST", "POST", "PUT", "PUT", "PUT", "PUT")
	push("2")
	w.expect(t, "a new tag", 1, "PUT")

	other := newMover(t)
	if _, err := other.Base(t.Context(), name+":1", Wanted{Platform: amd64}); err != nil {
		t.Fatal(err)
	}
	w.expect(t, "looking up a base", 2, "GET", "GET")
	if _, err := other.Store.SetName(named(t, name+":3"), id, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := New(other.Store, registry.New(registry.Config{}), amd64).Push(t.Context(), named(t, name+":3"), nil); err != nil {
		t.Fatal(err)
	}
	w.expect(t, "a new tag of what was only looked up", 1, "PUT")

	c, err := m.Store.Config(id)
	if err != nil {
		t.Fatal(err)
	}
	diffIDs, err := image.DiffIDs(c.Data)
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := m.Store.Blobs(diffIDs[0])
	if err != nil {
		t.Fatal(err)
	}
	req, _ := http.NewRequest(http.MethodDelete, "http://"+w.address+"/v2/me/app/blobs/"+blobs[0].Digest.String(), nil)
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusAccepted {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
	w.expect(t, "deleting a blob", 1, "DELETE")
	push("4") // refused, asked about, sent, and accepted
	w.expect(t, "pushing what is gone", 5, "PUT", "HEAD", "HEAD", "HEAD", "POST", "PUT", "PUT")
	if _, err := newMover(t).Pull(t.Context(), named(t, name+":4"), Wanted{Platform: amd64}); err != nil {
		t.Error(err)
	}
}

// A layer that a worker has made takes three requests to where other machines find it: what all such layers have in
// common is sent once.
func TestRoundTripsOfLayers(t *testing.T) {
	m := newMover(t)
	w := startTide(t, registrytest.Start(t))
	send := func(text string) {
		t.Helper()
		l, err := m.Store.UnpackNew(t.Context(), "", bytes.NewReader(tarOf(t, member{name: "file", body: text})))
		if err != nil {
			t.Fatal(err)
		}
		ref := named(t, w.address+"/me/cache:"+l.DiffID.Encoded()[:12])
		err = m.PushArtifact(t.Context(), ref, []digest.Digest{l.DiffID}, func(blobs []ocispec.Descriptor) (config, manifest registry.Blob, err error) {
			config = registry.Blob{MediaType: "application/vnd.test+json", Digest: digest.FromString("{}"), Data: []byte("{}")}
			manifest, err = marshalBlob(ocispec.MediaTypeImageManifest, ocispec.Manifest{
				Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config.Descriptor(), Layers: blobs,
			})
			return config, manifest, err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	send("one")
	w.expect(t, "the first layer", 4, "POST", "POST", "PUT", "PUT", "PUT")
	send("two")
	w.expect(t, "another layer", 3, "POST", "PUT", "PUT")
}
