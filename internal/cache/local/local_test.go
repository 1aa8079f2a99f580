package local

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/places/placetest"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer"
)

func TestRecords(t *testing.T) {
	s, err := store.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	k := &cache.Key{Kind: "RUN"}
	k.Add(cache.PartArg, "a", "b")
	if r, err := Lookup(s, k); r != nil || err != nil {
		t.Errorf("in an empty store: %v, %v", r, err)
	}
	want := &cache.Record{Created: time.Date(2026, 1, 2, 3, 4, 5, 678912345, time.UTC), Took: time.Second, Instruction: "RUN a b"}
	if err := Save(s, k, want); err != nil {
		t.Fatal(err)
	}
	got, err := Lookup(s, k)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// A record whose layer is gone is none.
	k.Add(cache.PartArg, "c")
	if err := Save(s, k, &cache.Record{Layer: digest.FromString("nowhere"), Created: want.Created}); err != nil {
		t.Fatal(err)
	}
	if r, err := Lookup(s, k); r != nil || err != nil {
		t.Errorf("without its layer: %v, %v", r, err)
	}
}

func TestPlace(t *testing.T) {
	placetest.Test(t, func(t *testing.T) *placetest.Site {
		m := placetest.Machine(t)
		return &placetest.Site{
			Machine: func(*testing.T) *transfer.Mover { return m },
			Open: func(_ *testing.T, m *transfer.Mover) (cache.Place, error) {
				return New(m.Store), nil
			},
			DamageRecords: func(t *testing.T) {
				for _, s := range placetest.Steps(t, m, "a") {
					if err := m.Store.PutRecord(store.Record{Key: s.Key, Layer: s.Record.Layer, Data: []byte("{"), Made: s.Record.Created}); err != nil {
						t.Fatal(err)
					}
				}
			},
			Merges: true,
		}
	})
}
