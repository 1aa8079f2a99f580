package s3_test

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/cache/places/bucket"
	"github.com/strata-build/strata/internal/cache/places/placetest"
	"github.com/strata-build/strata/internal/cache/places/s3"
	"github.com/strata-build/strata/internal/transfer"
)

var versitygw = flag.String("versitygw", "", "program to serve S3 with")

// spec is a cache in a bucket of a server.
func spec(url string) places.Spec {
	return places.Spec{Type: "s3", Ref: "test", Attr: map[string]string{
		"bucket": "test", "endpoint_url": url, "use_path_style": "true", "region": "us-east-1", "prefix": "ci",
		"access_key_id": placetest.AccessKey, "secret_access_key": placetest.SecretKey,
	}}
}

func site(url string) *placetest.Site {
	return &placetest.Site{
		Machine: func(t *testing.T) *transfer.Mover { return placetest.Machine(t, *s3.Kind.Blobs) },
		Open: func(_ *testing.T, m *transfer.Mover) (cache.Place, error) {
			return s3.Kind.Create(m, spec(url))
		},
		Merges: true, Shares: true,
	}
}

func TestPlace(t *testing.T) {
	placetest.Test(t, func(t *testing.T) *placetest.Site {
		server := placetest.StartObjects(t)
		s := site(server.URL)
		s.DamageLayers, s.DamageRecords = server.Damage("/blobs/"), server.Damage("/records/", "/names/", "/weak/", "/mounts/")
		return s
	})
}

// TestServer is TestPlace with a server that looks at signatures and stores files: make test-places builds it.
func TestServer(t *testing.T) {
	if *versitygw == "" {
		t.Skip("needs versitygw: make test-places")
	}
	placetest.Test(t, func(t *testing.T) *placetest.Site {
		dir := t.TempDir()
		url, stop, err := placetest.ServeS3(*versitygw, dir, "test")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
		s := site(url)
		s.DamageLayers, s.DamageRecords = placetest.DamageFiles(dir, "blobs"), placetest.DamageFiles(dir, "records", "names", "weak", "mounts")
		return s
	})
}

func TestFaults(t *testing.T) {
	server := placetest.StartObjects(t)
	placetest.Faults(t, server, site(server.URL))
}

// A large object whose sending was cut goes on where it was, with a server that keeps parts.
func TestResume(t *testing.T) {
	if *versitygw == "" {
		t.Skip("needs versitygw: make test-places")
	}
	dir := t.TempDir()
	direct, stop, err := placetest.ServeS3(*versitygw, dir, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	target, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	var parts atomic.Int32
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // which is signed
		if r.In.Method == http.MethodPut && r.In.URL.Query().Has("partNumber") {
			parts.Add(1)
		}
	}})
	t.Cleanup(proxy.Close)
	o, err := s3.New(spec(proxy.URL))
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 40<<20)
	for i := range data {
		data[i] = byte(i >> 10)
	}
	put := func(r io.Reader) error {
		_, err := o.Put(t.Context(), "blobs/large", int64(len(data)), r, bucket.Expect{})
		return err
	}
	if err := put(io.MultiReader(bytes.NewReader(data[:33<<20]), iotest.ErrReader(errors.New("cut")))); err == nil {
		t.Fatal("half of an object is put")
	}
	if _, err := o.Stat(t.Context(), "blobs/large"); !errors.Is(err, bucket.ErrNoObject) {
		t.Errorf("half of an object is there: %v", err)
	}
	if n := parts.Load(); n != 2 {
		t.Fatalf("%d parts were sent, want 2", n)
	}
	if err := put(bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	if n := parts.Load(); n != 3 {
		t.Errorf("%d parts were sent in sum, want 3", n)
	}
	r, _, err := o.Open(t.Context(), "blobs/large", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := o.Tidy(t.Context(), "blobs/", time.Now()); err != nil {
		t.Error(err)
	}
}
