package s3_test

import (
	"testing"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/cache/places/placetest"
	"github.com/strata-build/strata/internal/cache/places/s3"
	"github.com/strata-build/strata/internal/transfer"
)

// spec is a cache in a bucket of a server.
func spec(url string) places.Spec {
	return places.Spec{Type: "s3", Ref: "test", Attr: map[string]string{
		"bucket": "test", "endpoint_url": url, "use_path_style": "true", "region": "us-east-1", "prefix": "ci",
		"access_key_id": "key", "secret_access_key": "very-secret",
	}}
}

func site(url string) *placetest.Site {
	return &placetest.Site{
		Machine: func(t *testing.T) *transfer.Mover { return placetest.Machine(t, *s3.Kind.Blobs) },
		Open: func(_ *testing.T, m *transfer.Mover) (cache.Place, error) {
			return s3.Kind.Create(m, spec(url))
		},
		Merges: true,
	}
}

func TestPlace(t *testing.T) {
	placetest.Test(t, func(t *testing.T) *placetest.Site {
		server := placetest.StartObjects(t)
		s := site(server.URL)
		s.DamageLayers, s.DamageRecords = server.Damage("/blobs/"), server.Damage("/records/", "/names/", "/weak/")
		return s
	})
}

func TestFaults(t *testing.T) {
	server := placetest.StartObjects(t)
	placetest.Faults(t, server, site(server.URL))
}
