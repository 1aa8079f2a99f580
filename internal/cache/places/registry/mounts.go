package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/cache/packed"
	"github.com/strata-build/strata/internal/cache/places/artifact"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// The contents of a cache mount are an artifact under a tag of their own: that of the cache, "-mount-" and digits of the digest
// of the mount's name.

// maxTag is how long a tag may be (distribution spec, "Pulling manifests").
const maxTag = 128

func (p *Place) mountRef(name packed.Name) (reference.Named, error) {
	tag := "latest"
	if t, ok := p.ref.(reference.Tagged); ok {
		tag = t.Tag()
	}
	suffix := "-mount-" + name.Digest().Encoded()[:16]
	if len(tag)+len(suffix) > maxTag {
		tag = digest.FromString(tag).Encoded()[:32]
	}
	return reference.WithTag(reference.TrimNamed(p.ref), tag+suffix)
}

// Mount implements packed.Keeper.
func (p *Place) Mount(ctx context.Context, name packed.Name) (*packed.Document, string, error) {
	ref, err := p.mountRef(name)
	if err != nil {
		return nil, "", err
	}
	img, err := p.mover.Registry.Describe(ctx, ref, p.mover.Platform)
	if errors.Is(err, registry.ErrNotFound) {
		return nil, "", packed.ErrNone
	}
	if err != nil {
		return nil, "", err
	}
	version := string(img.Manifest.Digest)
	if img.Config.MediaType != artifact.MountConfigType {
		return nil, version, fmt.Errorf("%s: %w", reference.FamiliarString(ref), packed.ErrNone)
	}
	d, err := artifact.DecodeMount(img.Config.Data, name)
	return d, version, err
}

// HasBlob implements packed.Keeper.
func (p *Place) HasBlob(ctx context.Context, _ packed.Name, b packed.Blob) (bool, error) {
	return p.mover.Registry.Has(ctx, p.ref, b.Digest)
}

// OpenBlob implements packed.Keeper.
func (p *Place) OpenBlob(ctx context.Context, _ packed.Name, b packed.Blob) (io.ReadCloser, error) {
	return p.mover.Registry.Open(ctx, p.ref, artifact.MountBlob(b), 0)
}

// PutMount implements packed.Keeper. A registry has no conditional writing: what another one has put is seen up to the request
// before the one that sends the manifest; of two that send theirs at that moment, the last one stays.
func (p *Place) PutMount(ctx context.Context, d *packed.Document, open map[digest.Digest]packed.OpenFunc, before *string) error {
	ref, err := p.mountRef(d.Mount)
	if err != nil {
		return err
	}
	config, manifest, err := artifact.EncodeMount(d)
	if err != nil {
		return err
	}
	uploads := []registry.Upload{{
		Desc: config.Descriptor(),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(config.Data)), nil },
	}}
	for _, b := range d.Blobs() {
		read := open[b.Digest]
		if read == nil {
			read = func() (io.ReadCloser, error) { return nil, fmt.Errorf("blob %s: it was here a moment ago", b.Digest) }
		}
		uploads = append(uploads, registry.Upload{Desc: artifact.MountBlob(b), Open: read})
	}
	still := func(ctx context.Context) error { return p.unchanged(ctx, ref, before) }
	if err := still(ctx); err != nil { // before anything is sent
		return err
	}
	_, err = p.mover.Registry.PushIf(ctx, ref, uploads, manifest, still, nil)
	return err
}

// unchanged is packed.ErrChanged where a tag is not what it was.
func (p *Place) unchanged(ctx context.Context, ref reference.Named, before *string) error {
	desc, err := p.mover.Registry.Digest(ctx, ref)
	switch {
	case errors.Is(err, registry.ErrNotFound):
		return nil // a place that has nothing is nobody's
	case err != nil:
		return err
	case before == nil || *before != string(desc.Digest):
		return packed.ErrChanged
	}
	return nil
}
