package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/cache/packed"
	"github.com/strata-build/strata/internal/cache/places/artifact"
	"github.com/strata-build/strata/internal/transfer/archive"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// The contents of a cache mount are a manifest of their own in the layout's index.

// isMount says of a descriptor of the index whether it is of a cache mount.
func isMount(name packed.Name) func(ocispec.Descriptor) bool {
	return func(d ocispec.Descriptor) bool {
		return d.ArtifactType == artifact.MountType && d.Annotations[artifact.MountName] == string(name.Digest())
	}
}

// Mount implements packed.Keeper.
func (p *Place) Mount(_ context.Context, name packed.Name) (*packed.Document, string, error) {
	l, err := archive.OpenLayout(p.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", packed.ErrNone
	}
	if err != nil {
		return nil, "", err
	}
	defer l.Close()
	index, err := l.Index()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", packed.ErrNone
	}
	if err != nil {
		return nil, "", err
	}
	i := slices.IndexFunc(index.Manifests, isMount(name))
	if i < 0 {
		return nil, "", packed.ErrNone
	}
	version := string(index.Manifests[i].Digest)
	var manifest ocispec.Manifest
	data, err := l.Read(index.Manifests[i], archive.MaxManifest)
	if err == nil {
		err = json.Unmarshal(data, &manifest)
	}
	if err == nil {
		data, err = l.Read(manifest.Config, packed.MaxDocument)
	}
	if err != nil {
		return nil, version, fmt.Errorf("%w: reading it in %s: %w", packed.ErrNone, p.name, err)
	}
	d, err := artifact.DecodeMount(data, name)
	return d, version, err
}

// HasBlob implements packed.Keeper.
func (p *Place) HasBlob(ctx context.Context, _ packed.Name, b packed.Blob) (bool, error) {
	return layout(p.dir).Has(ctx, artifact.MountBlob(b))
}

// OpenBlob implements packed.Keeper.
func (p *Place) OpenBlob(_ context.Context, _ packed.Name, b packed.Blob) (io.ReadCloser, error) {
	return archive.OpenBlob(p.dir, artifact.MountBlob(b))
}

// PutMount implements packed.Keeper.
func (p *Place) PutMount(ctx context.Context, d *packed.Document, open map[digest.Digest]packed.OpenFunc, before *string) error {
	to, err := makeLayout(p.dir)
	if err != nil {
		return err
	}
	// What takes long is done without the lock. What another one has removed since is sent again with it.
	if err := p.sendMount(ctx, to, d, open); err != nil {
		return err
	}
	unlock, err := to.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	_, version, err := p.Mount(ctx, d.Mount)
	if err != nil && !errors.Is(err, packed.ErrNone) {
		return err
	}
	if version != "" && (before == nil || *before != version) {
		return packed.ErrChanged
	}
	if err := p.sendMount(ctx, to, d, open); err != nil {
		return err
	}
	config, manifest, err := artifact.EncodeMount(d)
	if err != nil {
		return err
	}
	for _, b := range []registry.Blob{config, manifest} {
		if err := to.put(ctx, b); err != nil {
			return err
		}
	}
	desc := manifest.Descriptor()
	desc.ArtifactType, desc.Annotations = artifact.MountType, map[string]string{artifact.MountName: string(d.Mount.Digest())}
	if err := ctx.Err(); err != nil {
		return err
	}
	replaced, err := enterIndex(p.dir, desc, isMount(d.Mount))
	if err != nil {
		return err
	}
	return p.tidy(ctx, replaced)
}

// sendMount writes the blobs of a document that are not there.
func (p *Place) sendMount(ctx context.Context, to layout, d *packed.Document, open map[digest.Digest]packed.OpenFunc) error {
	for _, b := range d.Blobs() {
		desc := artifact.MountBlob(b)
		if has, err := to.Has(ctx, desc); err != nil || has {
			if err != nil {
				return err
			}
			continue
		}
		if open[b.Digest] == nil {
			return packed.ErrChanged // another one has removed it since
		}
		r, err := open[b.Digest]()
		if err != nil {
			return err
		}
		err = to.Write(ctx, desc, r)
		r.Close()
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}
