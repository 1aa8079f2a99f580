package transfer

import (
	"context"
	"encoding/json"
	"io"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer/chunked"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// FetchRange implements store.RangeFetcher for what is in registries.
func (m *Mover) FetchRange(ctx context.Context, location string, desc ocispec.Descriptor, from, to int64) (io.ReadCloser, error) {
	ref, err := m.repository(location)
	if err != nil {
		return nil, err
	}
	return m.Registry.OpenRange(ctx, ref, desc, from, to)
}

// Counts implements store.RangeFetcher.
func (m *Mover) Counts(annotations map[string]string) bool {
	return m.Referrers || !chunked.Attached(annotations)
}

// Beside implements store.RangeFetcher.
func (m *Mover) Beside(location string) (chunked.Repository, error) {
	ref, err := m.repository(location)
	if err != nil {
		return nil, err
	}
	return beside{m.Registry, ref}, nil
}

// beside is what is in a repository of a registry.
type beside struct {
	client *registry.Client
	ref    reference.Named
}

// Manifest implements chunked.Repository.
func (b beside) Manifest(ctx context.Context, d digest.Digest) ([]byte, error) {
	ref, err := reference.WithDigest(b.ref, d)
	if err != nil {
		return nil, err
	}
	m, err := b.client.Manifest(ctx, ref)
	return m.Data, err
}

// Small implements chunked.Repository.
func (b beside) Small(ctx context.Context, desc ocispec.Descriptor, limit int64) ([]byte, error) {
	return b.client.Small(ctx, b.ref, desc, limit)
}

// Referrers implements chunked.Repository.
func (b beside) Referrers(ctx context.Context, subject digest.Digest, artifactType string) ([]ocispec.Descriptor, error) {
	return b.client.Referrers(ctx, b.ref, subject, artifactType)
}

// noteChunked notes of an image's layers of which parts can be read that they can be, and how.
func (m *Mover) noteChunked(diffIDs []digest.Digest, img *registry.Image) error {
	return m.noteLayers(diffIDs, img.Layers, img.Annotations, img.Manifest.Digest)
}

// NoteReferrers notes, of an image of the store, that SOCI indexes count that refer to it, if they do for the Mover:
// it may have been found when nobody asked for them.
func (m *Mover) NoteReferrers(c *store.Config) error {
	if !m.Referrers {
		return nil
	}
	config, err := image.Parse(c.Data)
	if err != nil {
		return err
	}
	manifests, err := m.Store.ManifestsOf(c.ID)
	if err != nil {
		return err
	}
	for _, kept := range manifests {
		var manifest ocispec.Manifest
		if err := json.Unmarshal(kept.Data, &manifest); err != nil || len(manifest.Layers) != len(config.RootFS.DiffIDs) {
			continue
		}
		if err := m.noteLayers(config.RootFS.DiffIDs, manifest.Layers, manifest.Annotations, kept.Digest); err != nil {
			return err
		}
	}
	return nil
}

func (m *Mover) noteLayers(diffIDs []digest.Digest, layers []ocispec.Descriptor, annotations map[string]string, manifest digest.Digest) error {
	of := chunked.Image{Annotations: annotations}
	if m.Referrers {
		of.Manifest = manifest
	}
	for i, desc := range layers {
		var err error
		if found := chunked.Annotations(desc, &of); found != nil {
			err = m.Store.NoteChunked(diffIDs[i], desc.Digest, found)
		} else {
			err = m.Store.ForgetChunked(diffIDs[i])
		}
		if err != nil {
			return err
		}
	}
	return nil
}
