package http_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/places"
	httpcache "github.com/strata-build/strata/internal/cache/places/http"
	"github.com/strata-build/strata/internal/cache/places/placetest"
	"github.com/strata-build/strata/internal/transfer"
)

func site(url string) *placetest.Site {
	return &placetest.Site{
		Machine: func(t *testing.T) *transfer.Mover { return placetest.Machine(t, *httpcache.Kind.Blobs) },
		Open: func(_ *testing.T, m *transfer.Mover) (cache.Place, error) {
			return httpcache.Kind.Create(m, places.Spec{Type: "http", Ref: url, Attr: map[string]string{"url": url, "auth_env": "CACHE_AUTH"}})
		},
		Merges: true,
	}
}

func TestPlace(t *testing.T) {
	t.Setenv("CACHE_AUTH", "Bearer very-secret")
	placetest.Test(t, func(t *testing.T) *placetest.Site {
		server := placetest.StartObjects(t)
		s := site(server.URL + "/ci/")
		s.DamageLayers, s.DamageRecords = server.Damage("/blobs/"), server.Damage("/records/", "/names/", "/weak/", "/mounts/")
		return s
	})
}

func TestFaults(t *testing.T) {
	server := placetest.StartObjects(t)
	placetest.Faults(t, server, site(server.URL+"/ci"))
}

// A WebDAV server wants folders to be made, and the header of the variable comes with each request.
func TestWebDAV(t *testing.T) {
	t.Setenv("CACHE_AUTH", "Bearer very-secret")
	server := placetest.StartObjects(t)
	folders := map[string]bool{"/ci/": true}
	server.Fail(func(w http.ResponseWriter, r *http.Request) bool {
		folder := r.URL.Path[:strings.LastIndex(strings.TrimSuffix(r.URL.Path, "/"), "/")+1]
		switch {
		case r.Header.Get("Authorization") != "Bearer very-secret":
			w.WriteHeader(http.StatusUnauthorized)
		case r.Method == "MKCOL" && folders[folder]:
			folders[r.URL.Path] = true
			w.WriteHeader(http.StatusCreated)
		case r.Method == "MKCOL" || r.Method == http.MethodPut && !folders[folder]:
			w.WriteHeader(http.StatusConflict)
		default:
			return false
		}
		return true
	})
	s := site(server.URL + "/ci/")
	m := s.Machine(t)
	p, err := s.Open(t, m)
	if err == nil {
		// One at a time, since the test's folders have no lock.
		for _, step := range placetest.Steps(t, m, "a") {
			if err = p.Put(t.Context(), []cache.Step{step}); err != nil {
				break
			}
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("CACHE_AUTH", "")
	if _, err := httpcache.Kind.Open(t.Context(), s.Machine(t), places.Spec{Ref: "x", Attr: map[string]string{"url": server.URL + "/ci/", "auth_env": "CACHE_AUTH"}}, placetest.Platform); err == nil || !strings.Contains(err.Error(), "auth_env=NAME") {
		t.Errorf("without the header: %v", err)
	}
}
