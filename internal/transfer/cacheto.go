package transfer

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// PushCache sends steps to ref's registry as an exported cache, under ref's tag. What the registry has is not sent, and no layer
// comes to this machine for it.
func (m *Mover) PushCache(ctx context.Context, ref reference.Named, steps []cache.Step) error {
	m = m.With(nil) // events are of what the build fetches
	p, err := m.newCachePush(ref, steps)
	if err != nil {
		return err
	}
	_, blobs, err := p.send(ctx, p.plan)
	if err != nil {
		return err
	}
	return p.noteBlobs(blobs)
}

// cachePush is a push of an exported cache.
type cachePush struct {
	*push
	steps []cache.Step
}

func (m *Mover) newCachePush(ref reference.Named, steps []cache.Step) (*cachePush, error) {
	steps, diffIDs, err := m.exportable(steps)
	if err != nil {
		return nil, err
	}
	p, err := m.newPush(ref, diffIDs)
	if err != nil {
		return nil, err
	}
	return &cachePush{p, steps}, nil
}

// exportable leaves out steps whose layers are neither here nor known to be elsewhere, and gives the layers of the others,
// each once.
func (m *Mover) exportable(steps []cache.Step) ([]cache.Step, []digest.Digest, error) {
	var kept []cache.Step
	var diffIDs []digest.Digest
	had := map[digest.Digest]bool{}
	for _, s := range steps {
		d := s.Record.Layer
		if _, known := had[d]; !known && d != "" {
			var err error
			if had[d], err = m.obtainable(d); err != nil {
				return nil, nil, err
			}
			if had[d] {
				diffIDs = append(diffIDs, d)
			}
		}
		if d == "" || had[d] {
			kept = append(kept, s)
		}
	}
	return kept, diffIDs, nil
}

func (m *Mover) obtainable(d digest.Digest) (bool, error) {
	l, err := m.Store.Layer(d)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil || l.Present() {
		return err == nil, err
	}
	blobs, err := m.Store.Blobs(d)
	return len(blobs) > 0, err
}

func (p *cachePush) plan(ctx context.Context) (*parcel, error) {
	blobs, err := p.chooseAll(ctx)
	if err != nil {
		return nil, err
	}
	config, manifest, err := newCacheManifest(p.steps, p.layers, blobs)
	return &parcel{blobs, config, manifest}, err
}

// newCacheManifest makes config and manifest of an exported cache.
func newCacheManifest(steps []cache.Step, layers []*store.Layer, blobs []store.Blob) (config, manifest registry.Blob, err error) {
	byLayer := map[digest.Digest]digest.Digest{}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		ArtifactType: cache.ArtifactType, Layers: []ocispec.Descriptor{},
	}
	for i, b := range blobs {
		byLayer[layers[i].DiffID] = b.Digest
		m.Layers = append(m.Layers, ociDescriptor(b))
	}
	data, err := cache.Export(steps, byLayer)
	if err != nil {
		return config, manifest, err
	}
	config = registry.Blob{MediaType: cache.ConfigType, Digest: digest.FromBytes(data), Data: data}
	m.Config = config.Descriptor()
	if data, err = json.Marshal(m); err != nil {
		return config, manifest, err
	}
	return config, registry.Blob{MediaType: m.MediaType, Digest: digest.FromBytes(data), Data: data}, nil
}
