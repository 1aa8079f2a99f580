package registry_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/cache/places/directory"
	"github.com/strata-build/strata/internal/cache/places/placetest"
	"github.com/strata-build/strata/internal/cache/places/registry"
	"github.com/strata-build/strata/internal/transfer"
	"github.com/strata-build/strata/internal/transfer/registry/registrytest"
)

func TestPlace(t *testing.T) {
	addr := registrytest.Start(t)
	placetest.Test(t, func(t *testing.T) *placetest.Site {
		r := placetest.StartProxy(t, addr)
		name := r.Addr + "/" + placetest.Repository(t) + ":cache"
		return &placetest.Site{
			Machine: func(t *testing.T) *transfer.Mover { return placetest.Machine(t) },
			Open: func(t *testing.T, m *transfer.Mover) (cache.Place, error) {
				return registry.New(m, name)
			},
			DamageLayers:  r.DamageLayers,
			DamageRecords: r.DamageRecords,
		}
	})
}

// blobsHere are the compressed layers in the store.
func blobsHere(t *testing.T, m *transfer.Mover) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(m.Store.Root(), "blobs", "sha256", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// A cache goes to a registry without a layer that some repository there has, and comes back without any.
func TestPutOfKnownLayers(t *testing.T) {
	addr := registrytest.Start(t)
	m := placetest.Machine(t)
	steps := placetest.Steps(t, m, "a")
	put := func(m *transfer.Mover, name string) {
		t.Helper()
		p, err := registry.New(m, addr+name)
		if err == nil {
			err = p.Put(t.Context(), steps)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put(m, "/me/app:1")
	// Whoever compresses them again leaves them here.
	for _, name := range blobsHere(t, m) {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"/me/app:cache", "/cache:1"} {
		put(m, name)
		if here := blobsHere(t, m); len(here) != 0 {
			t.Errorf("%s: these were compressed or fetched: %v", name, here)
		}
		theirs := placetest.Machine(t)
		source, err := registry.Open(t.Context(), theirs, places.Spec{Ref: addr + name}, placetest.Platform)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range steps {
			got, err := source.Get(t.Context(), step.Key)
			if err != nil {
				t.Fatal(err)
			}
			if got.Layer == "" {
				continue
			}
			l, err := theirs.Store.Layer(got.Layer)
			if err != nil || l.Present() {
				t.Fatalf("%s: %s: the layer is here: %v", name, got.Instruction, err)
			}
		}
	}
}

// What is passed on from a directory to a registry is never unpacked.
func TestDirectoryToRegistry(t *testing.T) {
	addr, dir := registrytest.Start(t), t.TempDir()
	m := placetest.Machine(t)
	steps := placetest.Steps(t, m, "a")
	from, err := directory.New(m, dir)
	if err == nil {
		err = from.Put(t.Context(), steps)
	}
	if err != nil {
		t.Fatal(err)
	}
	theirs := placetest.Machine(t)
	if _, err := directory.Open(t.Context(), theirs, places.Spec{Ref: dir}, placetest.Platform); err != nil {
		t.Fatal(err)
	}
	to, err := registry.New(theirs, addr+"/cache:1")
	if err == nil {
		err = to.Put(t.Context(), steps)
	}
	if err != nil {
		t.Fatal(err)
	}
	if here := blobsHere(t, theirs); len(here) != 0 {
		t.Errorf("these came here: %v", here)
	}
	read, err := registry.New(placetest.Machine(t), addr+"/cache:1")
	if err != nil {
		t.Fatal(err)
	}
	records, err := read.Load(t.Context())
	if err != nil || records.Len() != len(steps) {
		t.Errorf("%v, %v", records, err)
	}
}
