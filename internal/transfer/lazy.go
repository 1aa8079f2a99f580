package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"

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

// Parts says by whose word parts of layers are read, where they can be.
type Parts byte

const (
	NoParts          Parts = iota // layers are fetched whole
	PartsByImage                  // by that of who made the image
	PartsByReferrers              // also by SOCI indexes that refer to an image, which whoever may push to its repository can add
)

// NoteParts notes how parts of the layers of an image of the store are read, if they are for the Mover: what the
// manifests say that it is known by. An image that was built here has none, and says what the image says that it was
// built from. name is the one by which somebody uses it.
func (m *Mover) NoteParts(name string, c *store.Config) error {
	if m.Parts == NoParts {
		return nil
	}
	of, manifests, err := m.manifestsBelow(c)
	if err == nil && of == c && len(manifests) > 1 {
		manifests, err = m.meant(name, c, manifests)
	}
	if err != nil {
		return err
	}
	below, err := image.Parse(of.Data)
	if err != nil {
		return err
	}
	repository := ""
	if ref, err := registry.ParseName(name); err == nil {
		repository = ref.Name()
	}
	said := map[digest.Digest]bool{}
	for _, kept := range manifests {
		var manifest ocispec.Manifest
		if err := json.Unmarshal(kept.Data, &manifest); err != nil || len(manifest.Layers) != len(below.RootFS.DiffIDs) {
			continue
		}
		m.noteLayers(below.RootFS.DiffIDs, manifest.Layers, speaker{manifest.Annotations, kept.Digest, repository})
		for _, d := range below.RootFS.DiffIDs {
			said[d] = true
		}
	}
	config, err := image.Parse(c.Data)
	if err != nil {
		return err
	}
	for _, d := range config.RootFS.DiffIDs {
		if !said[d] {
			m.Store.AddClaim(d, store.Claim{})
		}
	}
	return nil
}

// manifestsBelow are the manifests that an image is known by, or else those of the next one that it was built from.
func (m *Mover) manifestsBelow(c *store.Config) (of *store.Config, all []store.Manifest, err error) {
	for of = c; ; {
		all, err = m.Store.ManifestsOf(of.ID)
		if len(all) > 0 || err != nil || of.Parent == "" {
			return of, all, err
		}
		below, err := m.Store.Config(of.Parent)
		if errors.Is(err, store.ErrNotFound) {
			return of, nil, nil
		}
		if err != nil {
			return nil, nil, err
		}
		of = below
	}
}

// meant are those of an image's manifests that a name had in its registry, or that its index had; all if none of them
// is known to be. Images that differ in how their layers are read can have the same config.
func (m *Mover) meant(name string, c *store.Config, all []store.Manifest) ([]store.Manifest, error) {
	full, _, err := m.Store.ByName(name)
	if errors.Is(err, store.ErrNotFound) {
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	ref, err := registry.ParseName(full)
	if err != nil {
		return nil, err
	}
	members, err := m.Store.Members(ref)
	if err != nil {
		return nil, err
	}
	is := map[digest.Digest]bool{}
	for _, member := range members {
		if member.ID == c.ID && member.Manifest != "" {
			is[member.Manifest] = true
		}
	}
	indexes, err := m.Store.ManifestsOf("")
	if err != nil {
		return nil, err
	}
	for _, kept := range indexes {
		var index ocispec.Index
		if is[kept.Digest] && json.Unmarshal(kept.Data, &index) == nil {
			for _, desc := range index.Manifests {
				is[desc.Digest] = true
			}
		}
	}
	found := slices.DeleteFunc(slices.Clone(all), func(m store.Manifest) bool { return !is[m.Digest] })
	if len(found) == 0 {
		return all, nil
	}
	return found, nil
}

// speaker is a manifest that says something of layers, and the repository that it was found in.
type speaker struct {
	annotations map[string]string
	digest      digest.Digest
	repository  string
}

// noteLayers notes what a manifest says of how parts of layers are read.
func (m *Mover) noteLayers(diffIDs []digest.Digest, layers []ocispec.Descriptor, by speaker) {
	of := chunked.Image{Annotations: by.annotations}
	if m.Parts == PartsByReferrers {
		of.Manifest = by.digest
	}
	for i, desc := range layers {
		c := store.Claim{Blob: desc.Digest, Annotations: chunked.Annotations(desc, &of)}
		if chunked.Attached(c.Annotations) {
			c.Repository = by.repository
		}
		m.Store.AddClaim(diffIDs[i], c)
	}
}
