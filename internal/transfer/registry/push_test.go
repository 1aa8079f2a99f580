package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/transfer/registry/registrytest"
)

// counter is a reverse proxy in front of a registry that notes the requests.
type counter struct {
	mu   sync.Mutex
	seen []string
}

func (c *counter) start(tb testing.TB, addr string) (proxy string) {
	tb.Helper()
	forward := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: addr})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.seen = append(c.seen, r.Method+" "+r.URL.Path+" "+r.URL.Query().Get("from"))
		c.mu.Unlock()
		forward.ServeHTTP(w, r)
	}))
	tb.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func (c *counter) count(prefix string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, s := range c.seen {
		if strings.HasPrefix(s, prefix) {
			n++
		}
	}
	return n
}

// statuses is a PushProgress that keeps each blob's last status.
func statuses() (PushProgress, map[string]string) {
	last := make(map[string]string)
	return func(d ocispec.Descriptor, status string, current, total int64) { last[d.Digest.String()] = status }, last
}

func TestPushAndPull(t *testing.T) {
	ctx := t.Context()
	c := newClient(t)
	var requests counter
	host := requests.start(t, registrytest.Start(t))
	ref := mustName(t, host+"/me/app:test")
	blobs, manifest := testImage(t, amd64, noise(1, 100_000), noise(2, 2_000_000))

	report, last := statuses()
	d, err := c.Push(ctx, ref, blobs, manifest, report)
	if err != nil {
		t.Fatal(err)
	}
	if d != manifest.Digest {
		t.Errorf("digest %s, want %s", d, manifest.Digest)
	}
	for _, b := range blobs {
		if got := last[b.Desc.Digest.String()]; got != StatusPushed {
			t.Errorf("%s: status %q, want %q", b.Desc.Digest, got, StatusPushed)
		}
	}

	img, err := c.Resolve(ctx, ref, amd64)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(manifest, img.Manifest); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
	if img.Index != nil || img.Config.Digest != blobs[2].Desc.Digest || len(img.Layers) != 2 {
		t.Errorf("index %v, config %s, %d layers", img.Index, img.Config.Digest, len(img.Layers))
	}
	sink := newMemSink()
	for i, l := range img.Layers {
		var current int64
		if err := c.Fetch(ctx, ref, l, sink, func(n, total int64) { current = n }); err != nil {
			t.Fatal(err)
		}
		if current != l.Size {
			t.Errorf("layer %d: progress ended at %d of %d", i, current, l.Size)
		}
	}
	if !bytes.Equal(sink.blobs[img.Layers[1].Digest], noise(2, 2_000_000)) {
		t.Error("the layer is not what was pushed")
	}
	desc, err := c.Digest(ctx, ref)
	if diff := cmp.Diff(manifest.Descriptor(), desc); err != nil || diff != "" {
		t.Errorf("Digest: %v (-want +got):\n%s", err, diff)
	}

	// What is there is not sent again.
	before := requests.count("PUT /v2/me/app/blobs/")
	report, last = statuses()
	if _, err := c.Push(ctx, ref, blobs, manifest, report); err != nil {
		t.Fatal(err)
	}
	if after := requests.count("PUT /v2/me/app/blobs/"); after != before {
		t.Errorf("%d blobs were sent again", after-before)
	}
	if got := last[blobs[0].Desc.Digest.String()]; got != StatusExists {
		t.Errorf("status %q, want %q", got, StatusExists)
	}
}

func TestPushMounts(t *testing.T) {
	ctx := t.Context()
	c := newClient(t)
	var requests counter
	host := requests.start(t, registrytest.Start(t))
	base, baseManifest := testImage(t, amd64, noise(3, 50_000))
	baseRef := mustName(t, host+"/library/base:1")
	if _, err := c.Push(ctx, baseRef, base, baseManifest, nil); err != nil {
		t.Fatal(err)
	}
	blobs, manifest := testImage(t, amd64, noise(3, 50_000), noise(4, 1000))
	for i := range blobs {
		blobs[i].MountFrom = append(blobs[i].MountFrom, mustName(t, "elsewhere.test/x"), baseRef)
	}
	report, last := statuses()
	if _, err := c.Push(ctx, mustName(t, host+"/me/app"), blobs, manifest, report); err != nil {
		t.Fatal(err)
	}
	if got := last[blobs[0].Desc.Digest.String()]; got != "Mounted from library/base" {
		t.Errorf("the base's layer: %q", got)
	}
	if got := last[blobs[1].Desc.Digest.String()]; got != StatusPushed {
		t.Errorf("the other layer: %q", got)
	}
	if n := requests.count("PUT /v2/me/app/blobs/uploads/"); n != 2 {
		t.Errorf("%d blobs were sent, want 2: the own layer and the config", n)
	}
	// An attempt to mount begins an upload, which is then used.
	if n := requests.count("POST /v2/me/app/blobs/uploads/"); n != 3 {
		t.Errorf("%d uploads were begun, want 3", n)
	}
	if _, err := c.Resolve(ctx, mustName(t, host+"/me/app:latest"), amd64); err != nil {
		t.Error(err)
	}
}

func TestPushRetries(t *testing.T) {
	ctx := t.Context()
	addr := registrytest.Start(t)
	forward := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: addr})
	var mu sync.Mutex
	failed := make(map[string]int)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		kind := r.Method + " " + strings.Split(r.URL.Path, "/")[4]
		mu.Lock()
		failed[kind]++
		n := failed[kind]
		mu.Unlock()
		switch {
		case r.Method == http.MethodPut && n == 1: // the connection breaks in the middle
			io.CopyN(io.Discard, r.Body, 10)
			panic(http.ErrAbortHandler)
		case n == 1: // each once, since one blob may meet them all, and gives up after the fifth
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	defer s.Close()
	blobs, manifest := testImage(t, amd64, noise(5, 500_000))
	c := newClient(t)
	ref := mustName(t, strings.TrimPrefix(s.URL, "http://")+"/me/app:1")
	if _, err := c.Push(ctx, ref, blobs, manifest, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Resolve(ctx, ref, amd64); err != nil {
		t.Error(err)
	}
}

// Blobs without a manifest are tried once: the push that follows has all the tries.
func TestPushBlobsOnce(t *testing.T) {
	for _, failing := range []string{http.MethodHead, http.MethodPost, http.MethodPut} {
		count := map[string]int{}
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/v2/":
			case r.Method == failing:
				count[r.Method]++
				w.WriteHeader(http.StatusServiceUnavailable)
			case r.Method == http.MethodHead:
				w.WriteHeader(http.StatusNotFound)
			case r.Method == http.MethodPost:
				w.Header().Set("Location", "/v2/me/app/blobs/uploads/1")
				w.WriteHeader(http.StatusAccepted)
			}
		}))
		defer s.Close()
		c := newClient(t)
		c.backoff = func(int) time.Duration { return time.Millisecond }
		ref := mustName(t, strings.TrimPrefix(s.URL, "http://")+"/me/app:1")
		blobs, manifest := testImage(t, amd64, noise(5, 5000))
		if err := c.PushBlobs(t.Context(), ref, blobs[:1], nil); err == nil || count[failing] != 1 {
			t.Errorf("%s is tried %d times: %v", failing, count[failing], err)
		}
		if _, err := c.Push(t.Context(), ref, blobs[:1], manifest, nil); err == nil || count[failing] < 1+3 {
			t.Errorf("%s is tried %d times by a push: %v", failing, count[failing]-1, err)
		}
	}
}

// A registry that says it has a blob, and lacks it when the manifest comes, gets it then: another client's upload broke
// off meanwhile, or it was collected.
func TestPushOfWhatIsLacking(t *testing.T) {
	addr := registrytest.Start(t)
	forward := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: addr})
	var lied atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead && lied.Add(1) <= 2 {
			return // 200
		}
		forward.ServeHTTP(w, r)
	}))
	defer s.Close()
	blobs, manifest := testImage(t, amd64, noise(7, 5000))
	c := newClient(t)
	ref := mustName(t, strings.TrimPrefix(s.URL, "http://")+"/me/lacking:1")
	if _, err := c.Push(t.Context(), ref, blobs, manifest, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Resolve(t.Context(), ref, amd64); err != nil {
		t.Error(err)
	}
}

func TestPushUnreadableBlob(t *testing.T) {
	c := newClient(t)
	ref := mustName(t, registrytest.Start(t)+"/me/app:1")
	blobs, manifest := testImage(t, amd64, noise(6, 1000))
	broken := errors.New("the disk is gone")
	opened := 0
	blobs[0].Open = func() (io.ReadCloser, error) { opened++; return nil, broken }
	_, err := c.Push(t.Context(), ref, blobs, manifest, nil)
	if !errors.Is(err, broken) || opened != 1 {
		t.Errorf("error %v after %d attempts, want %v after one", err, opened, broken)
	}
	if _, err := c.Resolve(t.Context(), ref, amd64); !errors.Is(err, ErrNotFound) {
		t.Errorf("the manifest was pushed without its layer: %v", err)
	}
}

func TestPushCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := newClient(t)
	ref := mustName(t, registrytest.Start(t)+"/me/app:1")
	blobs, manifest := testImage(t, amd64, noise(7, 1000))
	blobs[0].Open = func() (io.ReadCloser, error) { cancel(); return nil, errors.New("too late") }
	if _, err := c.Push(ctx, ref, blobs, manifest, nil); err == nil {
		t.Error("no error")
	}
}

func TestResolvePlatform(t *testing.T) {
	ctx := t.Context()
	c := newClient(t)
	host := registrytest.Start(t)
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	manifests := make(map[string]Blob)
	for i, p := range []ocispec.Platform{
		amd64,
		{OS: "linux", Architecture: "arm", Variant: "v6"},
		{OS: "linux", Architecture: "arm64", Variant: "v8"},
		{OS: "windows", Architecture: "amd64"},
	} {
		blobs, m := testImage(t, p, noise(uint64(10+i), 100))
		byDigest := mustName(t, host+"/multi@"+m.Digest.String())
		if _, err := c.Push(ctx, byDigest, blobs, m, nil); err != nil {
			t.Fatal(err)
		}
		desc := m.Descriptor()
		desc.Platform = &p
		index.Manifests = append(index.Manifests, desc)
		manifests[platform.Format(p)] = m
	}
	top := blobOf(index.MediaType, mustJSON(t, index))
	ref := mustName(t, host+"/multi:1")
	if _, err := c.Push(ctx, ref, nil, top, nil); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		want ocispec.Platform
		get  string
	}{
		{amd64, "linux/amd64"},
		{ocispec.Platform{OS: "linux", Architecture: "amd64", Variant: "v3"}, "linux/amd64"},
		{ocispec.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}, "linux/arm/v6"},
		{ocispec.Platform{OS: "linux", Architecture: "arm64"}, "linux/arm64/v8"},
		{ocispec.Platform{OS: "linux", Architecture: "aarch64", Variant: "v8"}, "linux/arm64/v8"},
	} {
		img, err := c.Resolve(ctx, ref, test.want)
		if err != nil {
			t.Errorf("%s: %v", platform.Format(test.want), err)
			continue
		}
		if img.Manifest.Digest != manifests[test.get].Digest {
			t.Errorf("%s: got another manifest than that of %s", platform.Format(test.want), test.get)
		}
		if img.Index == nil || img.Index.Digest != top.Digest {
			t.Errorf("%s: index %v", platform.Format(test.want), img.Index)
		}
	}
	_, err := c.Resolve(ctx, ref, ocispec.Platform{OS: "linux", Architecture: "s390x"})
	if !errors.Is(err, ErrPlatform) || !strings.Contains(err.Error(), "linux/s390x, only for linux/amd64, linux/arm/v6, linux/arm64/v8, windows/amd64") {
		t.Errorf("s390x: %v", err)
	}
}

func TestResolveNotThere(t *testing.T) {
	c := newClient(t)
	host := registrytest.Start(t)
	_, err := c.Resolve(t.Context(), mustName(t, host+"/me/nothing:1"), amd64)
	if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "strata login "+host) {
		t.Errorf("error %v, want ErrNotFound and what to do", err)
	}
	_, err = c.Digest(t.Context(), mustName(t, host+"/me/nothing:1"))
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("Digest: error %v, want ErrNotFound", err)
	}
}
