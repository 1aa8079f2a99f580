package transfer

import (
	"context"
	"errors"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/registry"
	"github.com/strata-build/strata/internal/store"
)

// ImageCache makes a source of the image that name means: one in the store, or, always if remote is set, what
// its registry has. Of that only manifest and config are read; the store learns where its layers are and gets no
// image.
func (m *Mover) ImageCache(ctx context.Context, name string, remote bool) (*cache.Source, error) {
	if !remote {
		id, err := m.Store.Resolve(name)
		if err == nil {
			return m.localCache(name, id)
		}
		if !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
	}
	ref, err := registry.ParseName(name)
	if err != nil {
		return nil, err
	}
	img, err := m.resolve(ctx, reference.TagNameOnly(ref))
	if err != nil {
		return nil, err
	}
	c, err := image.Parse(img.Config.Data)
	if err != nil {
		return nil, err
	}
	return cache.FromImage(name, c), nil
}

func (m *Mover) localCache(name string, id digest.Digest) (*cache.Source, error) {
	if err := m.Store.Touch(id); err != nil {
		return nil, err
	}
	stored, err := m.Store.Config(id)
	if err != nil {
		return nil, err
	}
	c, err := image.Parse(stored.Data)
	if err != nil {
		return nil, err
	}
	return cache.FromImage(name, c), nil
}
