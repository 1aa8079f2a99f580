package s3_test

import (
	"flag"
	"testing"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/places"
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
