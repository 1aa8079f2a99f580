// Package registry is a cache that is an artifact in a registry: one manifest and one config, read at once. Layers come from
// the repository when they are needed, and go there only if it has none of their forms.
package registry

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/cache/places/artifact"
	"github.com/strata-build/strata/internal/cache/places/inline"
	"github.com/strata-build/strata/internal/transfer"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// Kind is type=registry: the image or cache that the registry has now, whatever this machine has of that name.
var Kind = places.Kind{
	Type:   "registry",
	From:   append([]places.Attribute{places.Name}, places.MountsFrom()...),
	To:     slices.Concat([]places.Attribute{places.Name}, places.Options(), places.MountsTo(), places.OCIOptions()),
	Open:   Open,
	Create: func(m *transfer.Mover, s places.Spec) (cache.Place, error) { return New(m, s.Ref) },
	Depot:  func(m *transfer.Mover, s places.Spec) (places.Depot, error) { return New(m, s.Ref) },
}

// Named is a name alone as a --cache-from: the image of that name here, else what its registry has.
var Named = places.Kind{
	Type: "image",
	From: []places.Attribute{places.Name},
	Open: func(ctx context.Context, m *transfer.Mover, s places.Spec, want ocispec.Platform) (*cache.Source, error) {
		source, err := inline.Open(m.Store, s.Ref, want)
		if errors.Is(err, cache.ErrNotFound) {
			return Open(ctx, m, s, want)
		}
		return source, err
	},
}

// Open makes a source of what a name means in its registry: a cache or an image. Of both only manifest and config are
// read.
func Open(ctx context.Context, m *transfer.Mover, s places.Spec, want ocispec.Platform) (*cache.Source, error) {
	p, err := New(m, s.Ref)
	if err != nil {
		return nil, err
	}
	img, err := m.Registry.Describe(ctx, p.ref, want)
	if err != nil {
		return nil, err
	}
	if img.Config.MediaType == artifact.ConfigType {
		records, err := p.decode(img)
		if err != nil {
			return nil, err
		}
		p.Set(records)
		return &cache.Source{Name: s.Ref, Place: p}, nil
	}
	if strings.HasPrefix(img.Config.MediaType, "application/vnd.buildkit.") {
		return nil, errors.New("it is a cache that BuildKit exported, which only BuildKit can read; name the image that it belongs to")
	}
	c, err := m.Locate(p.ref, img)
	if err != nil {
		return nil, err
	}
	return inline.Source(m.Store, s.Ref, c)
}

// Place is a cache under a tag of a repository.
type Place struct {
	*artifact.Document
	mover *transfer.Mover
	name  string // as the person wrote it
	ref   reference.Named
}

// New returns the place of a name. It asks nobody anything.
func New(m *transfer.Mover, name string) (*Place, error) {
	ref, err := registry.ParseName(name)
	if err != nil {
		return nil, err
	}
	p := &Place{mover: m, name: name, ref: reference.TagNameOnly(ref)}
	p.Document = artifact.NewDocument(p.read)
	return p, nil
}

func (p *Place) read(ctx context.Context) (*artifact.Records, error) {
	img, err := p.mover.Registry.Describe(ctx, p.ref, p.mover.Platform)
	if err != nil {
		return nil, err
	}
	if img.Config.MediaType != artifact.ConfigType {
		return nil, errors.New(p.name + " is no cache of strata; write one there with --cache-to")
	}
	return p.decode(img)
}

// decode reads the records of an artifact, and notes where their layers can be had.
func (p *Place) decode(img *registry.Image) (*artifact.Records, error) {
	records, err := artifact.Decode(p.name, img.Config.Data, img.Layers)
	if err != nil {
		return nil, err
	}
	return records, records.Locate(p.mover, p.ref.Name())
}

// Put pushes the steps as one artifact under the tag.
func (p *Place) Put(ctx context.Context, steps []cache.Step) error {
	steps, diffIDs, err := places.Sendable(p.mover, steps)
	if err != nil {
		return err
	}
	p.Set(nil)
	return p.mover.PushArtifact(ctx, p.ref, diffIDs, func(blobs []ocispec.Descriptor) (config, manifest registry.Blob, err error) {
		return artifact.Encode(steps, diffIDs, blobs)
	})
}

// SendLayer implements places.Depot. Each layer has a tag of its own in the repository, so that the registry's garbage
// collection leaves it alone.
func (p *Place) SendLayer(ctx context.Context, diffID digest.Digest) (ocispec.Descriptor, error) {
	ref, err := reference.WithTag(reference.TrimNamed(p.ref), "layer-"+diffID.Encoded())
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	var sent ocispec.Descriptor
	err = p.mover.PushArtifact(ctx, ref, []digest.Digest{diffID}, func(blobs []ocispec.Descriptor) (config, manifest registry.Blob, err error) {
		sent = blobs[0]
		return artifact.Encode(nil, []digest.Digest{diffID}, blobs)
	})
	return sent, err
}

// NoteLayer implements places.Depot.
func (p *Place) NoteLayer(diffID digest.Digest, desc ocispec.Descriptor) error {
	return p.mover.NoteAt(diffID, desc, p.ref.Name())
}
