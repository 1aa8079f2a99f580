package transfer

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// Cache makes a source of what name means: an image in the store, or, always if remote is set, an image or an exported
// cache in its registry. Of that only manifest and config are read; the store learns where its layers are and gets no
// image.
func (m *Mover) Cache(ctx context.Context, name string, want ocispec.Platform, remote bool) (*cache.Source, error) {
	if !remote {
		id, err := m.Store.ResolveFor(name, want)
		if err == nil {
			return m.localCache(name, id)
		}
		var other *store.PlatformError
		if !errors.Is(err, store.ErrNotFound) && (!errors.As(err, &other) || other.ID != "") {
			return nil, err
		}
	}
	ref, err := registry.ParseName(name)
	if err != nil {
		return nil, err
	}
	ref = reference.TagNameOnly(ref)
	img, err := m.Registry.Describe(ctx, ref, want)
	if err != nil {
		return nil, err
	}
	switch {
	case img.Config.MediaType == cache.ConfigType:
		return m.exportedCache(name, img.Config.Data, img.Layers, ref.Name())
	case strings.HasPrefix(img.Config.MediaType, "application/vnd.buildkit."):
		return nil, fmt.Errorf("it is a cache that BuildKit exported, which only BuildKit can read; name the image that it belongs to")
	}
	found, err := m.locate(ref, img)
	if err != nil {
		return nil, err
	}
	c, err := image.Parse(found.Config.Data)
	if err != nil {
		return nil, err
	}
	return cache.FromImage(name, c), nil
}

// exportedCache makes a source of an exported cache whose blobs are in repository.
func (m *Mover) exportedCache(name string, config []byte, layers []ocispec.Descriptor, repository string) (*cache.Source, error) {
	s, blobs, err := cache.FromExport(name, config, layers)
	if err != nil {
		return nil, err
	}
	for diffID, desc := range blobs {
		b := store.Blob{Digest: desc.Digest, Size: desc.Size, MediaType: desc.MediaType, Repository: repository}
		if err := m.Store.AddRemote(diffID, b); err != nil {
			return nil, err
		}
	}
	return s, nil
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
