package builder

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/cache/packed"
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/store"
)

// unreadable is a place that has a mount of which nothing can be read just now.
type unreadable struct {
	doc packed.Document
	put bool
}

func (u *unreadable) Mount(context.Context, packed.Name) (*packed.Document, string, error) {
	return &u.doc, "1", nil
}

func (u *unreadable) HasBlob(context.Context, packed.Name, packed.Blob) (bool, error) {
	return true, nil
}

func (u *unreadable) OpenBlob(context.Context, packed.Name, packed.Blob) (io.ReadCloser, error) {
	return nil, errors.New("try again later")
}

func (u *unreadable) PutMount(context.Context, *packed.Document, map[digest.Digest]packed.OpenFunc, *string) error {
	u.put = true
	return nil
}

// A mount that could not be restored is not sent over the one that is there.
func TestNotRestored(t *testing.T) {
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	name := packed.Name{ID: "/x", Arch: "amd64"}
	place := &unreadable{doc: packed.Document{Mount: name}}
	c := &mountCaches{build: &build{store: s, events: event.Discard}}
	c.sources = []mountSource{{name: "place", wanted: places.Mounts{All: true}, keeper: place}}
	mount, err := s.CacheMount(t.Context(), store.CacheMountOptions{ID: name.ID, Sharing: "shared", Restore: func(dir string) bool {
		return c.Restore(t.Context(), name, dir)
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := mount.Release(); err != nil {
		t.Fatal(err)
	}
	if err := c.sendMount(t.Context(), name, places.Spec{}, place); !errors.Is(err, errNotRestored) || place.put {
		t.Errorf("%v, sent: %v", err, place.put)
	}
}
