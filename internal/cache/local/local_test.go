package local

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/store"
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
