package gha_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/cache/places/bucket"
	"github.com/strata-build/strata/internal/cache/places/gha"
	"github.com/strata-build/strata/internal/cache/places/placetest"
	"github.com/strata-build/strata/internal/transfer"
)

func spec(url string) places.Spec {
	return places.Spec{Type: "gha", Ref: "gha", Attr: map[string]string{"url_v2": url + "/", "token": placetest.GitHubToken}}
}

func site(url string) *placetest.Site {
	return &placetest.Site{
		Machine: func(t *testing.T) *transfer.Mover { return placetest.Machine(t, *gha.Kind.Blobs) },
		Open: func(_ *testing.T, m *transfer.Mover) (cache.Place, error) {
			return gha.Kind.Create(m, spec(url))
		},
		Merges: true,
	}
}

func TestPlace(t *testing.T) {
	placetest.Test(t, func(t *testing.T) *placetest.Site {
		server := placetest.StartGitHub(t)
		s := site(server.URL)
		s.DamageLayers, s.DamageRecords = server.Damage("/blobs/"), server.Damage("/records/", "/names/", "/weak/", "/mounts/")
		return s
	})
}

func TestFaults(t *testing.T) {
	server := placetest.StartGitHub(t)
	placetest.Faults(t, server, site(server.URL))
}

// An entry that a job began and never finished is in nobody's way, and one with the same bytes is not written again.
func TestUnfinished(t *testing.T) {
	server := placetest.StartGitHub(t)
	o, err := gha.New(spec(server.URL))
	if err != nil {
		t.Fatal(err)
	}
	put := func(name, text string, expect bucket.Expect) (bucket.Object, error) {
		return o.Put(t.Context(), name, int64(len(text)), strings.NewReader(text), expect)
	}
	for _, name := range []string{"records/a", "names/a"} {
		server.Fail(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/FinalizeCacheEntryUpload") {
				return false
			}
			w.WriteHeader(http.StatusForbidden)
			return true
		})
		if _, err := put(name, "one", bucket.Expect{}); err == nil {
			t.Error("an entry that could not be finished is written")
		}
		server.Fail(nil)
		if _, err := o.Stat(t.Context(), name); !errors.Is(err, bucket.ErrNoObject) {
			t.Errorf("%s: it is there: %v", name, err)
		}
		if _, err := put(name, "one", bucket.Expect{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// So it is where it is written on a condition: it is waited for, and then the next number is taken.
	server.Fail(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/FinalizeCacheEntryUpload") {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	if _, err := put("mounts/a", "one", bucket.Expect{Nothing: true}); err == nil {
		t.Error("an entry that could not be finished is written")
	}
	server.Fail(nil)
	first, err := put("mounts/a", "one", bucket.Expect{Nothing: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := put("mounts/a", "two", bucket.Expect{Nothing: true}); !errors.Is(err, bucket.ErrChanged) {
		t.Errorf("it is there, and the error is %v", err)
	}
	if _, err := put("mounts/a", "two", bucket.Expect{Version: first.Version}); err != nil {
		t.Error(err)
	}
	before := len(server.Names())
	if _, err := put("records/b", "two", bucket.Expect{}); err != nil {
		t.Fatal(err)
	}
	if _, err := put("records/b", "two", bucket.Expect{}); err != nil {
		t.Fatal(err)
	}
	if n := len(server.Names()) - before; n != 1 {
		t.Errorf("the same record twice makes %d entries", n)
	}
}

// Without what a job has there is nothing to ask, and a token that has ended is said to be one.
func TestToken(t *testing.T) {
	t.Setenv("ACTIONS_RESULTS_URL", "")
	t.Setenv("ACTIONS_RUNTIME_TOKEN", "")
	if _, err := gha.New(places.Spec{}); err == nil || !strings.Contains(err.Error(), "ACTIONS_RUNTIME_TOKEN are not set") {
		t.Errorf("outside of a job: %v", err)
	}
	t.Setenv("ACTIONS_RESULTS_URL", placetest.StartGitHub(t).URL)
	t.Setenv("ACTIONS_RUNTIME_TOKEN", "very-secret")
	if _, err := gha.Kind.Open(t.Context(), placetest.Machine(t), places.Spec{}, placetest.Platform); err == nil ||
		!strings.Contains(err.Error(), "the token of ACTIONS_RUNTIME_TOKEN has ended") || strings.Contains(err.Error(), "very-secret") {
		t.Errorf("another token: %v", err)
	}
}
