package export

import (
	"context"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer"
)

// packed are the images as one output has them.
type packed struct {
	configs []*image.Config
	bundle  transfer.Bundle
}

// pack gives each image the times and the layers that an output wants it to have. That may be another image, of which
// the store knows as of a step until somebody keeps it.
func (x *exporter) pack(ctx context.Context, m *transfer.Mover, s *Spec) (*packed, error) {
	if err := x.checkImages(); err != nil {
		return nil, err
	}
	notes := append(slices.Clone(s.Annotations), x.o.Annotations...)
	if err := notes.checkPlaces(x.images); err != nil {
		return nil, err
	}
	p := &packed{bundle: transfer.Bundle{
		Index: x.several() || notes.onIndex(), ByDigest: s.ByDigest,
		Annotations: notes.at(OnIndex, nil), Described: notes.at(OnIndexDescriptor, nil), Names: x.namesOf(s),
	}}
	for i := range x.images {
		img := &x.images[i]
		c, id, err := x.finished(ctx, m, img, &s.Packing)
		if err != nil {
			return nil, err
		}
		p.configs = append(p.configs, c)
		item := transfer.Item{
			ID: id, Platform: img.Platform, Described: notes.at(OnManifestDescriptor, &img.Platform), Attestations: img.Attestations,
			Packing: transfer.Packing{
				Compression: s.Compression, Level: s.Level, Base: img.baseLayers(), Force: s.Force, OCI: s.OCI,
				Annotations: notes.at(OnManifest, &img.Platform),
			},
		}
		if s.Seekable {
			item.Packing.Level = nil // the layers have the only form that they are to have
		}
		if s.OCI == nil && (s.Kind == OCI || s.Kind == Docker && s.Dest != "") {
			item.Packing.OCI = &always
		}
		// An archive for docker load has no place for them.
		p.bundle.Index = p.bundle.Index || len(item.Attestations) > 0 && (s.Kind != Docker || s.Dest == "")
		p.bundle.Items = append(p.bundle.Items, item)
	}
	return p, nil
}

// always is an archive's answer to whether it has OCI's media types: all of ours are OCI layouts.
var always = true

// finished is an image with the times and layers that an output wants it to have.
func (x *exporter) finished(ctx context.Context, m *transfer.Mover, img *Image, p *Packing) (*image.Config, digest.Digest, error) {
	c := img.Config
	var err error
	if epoch := p.epochOr(x.o.Epoch); epoch != nil {
		// BuildKit rewrites layers only if it is told to. But whoever sets SOURCE_DATE_EPOCH wants to have the same
		// image again, and without it has not.
		if c, err = x.dated(ctx, img, *epoch, p.Rewrite == nil || *p.Rewrite); err != nil {
			return nil, "", err
		}
	}
	if p.Seekable {
		keep := img.baseLayers()
		if p.Force {
			keep = 0
		}
		if c, err = m.Seekable(ctx, c, keep, p.Level); err != nil {
			return nil, "", err
		}
	}
	if c == img.Config {
		return c, img.ID, nil
	}
	data, err := image.Encode(c)
	if err != nil {
		return nil, "", err
	}
	before, err := x.Store.Config(img.ID)
	if err != nil {
		return nil, "", err
	}
	id, err := x.Store.PutConfig(data, before.Parent, store.Step)
	return c, id, err
}
