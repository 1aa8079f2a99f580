package inline_test

import (
	"testing"

	"github.com/distribution/reference"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/cache/places/inline"
	"github.com/strata-build/strata/internal/cache/places/placetest"
	cacheregistry "github.com/strata-build/strata/internal/cache/places/registry"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer"
	"github.com/strata-build/strata/internal/transfer/registry"
	"github.com/strata-build/strata/internal/transfer/registry/registrytest"
)

// imageOf makes an image of steps under a name, as a build does.
func imageOf(t *testing.T, m *transfer.Mover, name string, steps []cache.Step) reference.Named {
	t.Helper()
	steps, _, err := places.Sendable(m, steps)
	if err != nil {
		t.Fatal(err)
	}
	c := image.Scratch(m.Platform)
	for _, s := range steps {
		c = image.Add(c, c.Config, image.History{Created: &s.Record.Created, CreatedBy: s.Record.Instruction}, s.Record.Layer)
		c.Cached = append(c.Cached, image.CachedRow{Row: len(c.History) - 1, Key: s.Key, MS: s.Record.Took.Milliseconds()})
	}
	data, err := image.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	id, err := m.Store.PutConfig(data, "", store.Image)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := registry.ParseName(name)
	if err == nil {
		ref = reference.TagNameOnly(ref)
		_, err = m.Store.SetName(ref, id, "")
	}
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// An image in a registry is a place, whose records another machine gets.
func TestPushedImage(t *testing.T) {
	if testing.Short() {
		t.Skip("it pushes images for ten tests; TestStoredImage has the same records")
	}
	addr := registrytest.Start(t)
	placetest.Test(t, func(t *testing.T) *placetest.Site {
		r := placetest.StartProxy(t, addr)
		name := r.Addr + "/" + placetest.Repository(t) + ":1"
		return &placetest.Site{
			Machine: func(t *testing.T) *transfer.Mover { return placetest.Machine(t) },
			Open: func(t *testing.T, m *transfer.Mover) (cache.Place, error) {
				source, err := cacheregistry.Open(t.Context(), m, places.Spec{Ref: name}, placetest.Platform)
				if err != nil {
					return nil, err
				}
				return source.Place, nil
			},
			Fill: func(t *testing.T, m *transfer.Mover, steps []cache.Step) {
				if _, err := m.Push(t.Context(), imageOf(t, m, name, steps), nil); err != nil {
					t.Fatal(err)
				}
			},
			DamageLayers:  r.DamageLayers,
			DamageRecords: r.DamageRecords,
		}
	})
}

// An image in the store is one, too.
func TestStoredImage(t *testing.T) {
	placetest.Test(t, func(t *testing.T) *placetest.Site {
		m := placetest.Machine(t)
		return &placetest.Site{
			Machine: func(*testing.T) *transfer.Mover { return m },
			Open: func(_ *testing.T, m *transfer.Mover) (cache.Place, error) {
				source, err := inline.Open(m.Store, "me/app:1", placetest.Platform)
				if err != nil {
					return nil, err
				}
				return source.Place, nil
			},
			Fill: func(t *testing.T, m *transfer.Mover, steps []cache.Step) { imageOf(t, m, "me/app:1", steps) },
		}
	})
}
