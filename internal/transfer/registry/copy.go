package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Manifest returns the manifest or index that ref names, as the registry has it. IsManifest tells which it is.
func (c *Client) Manifest(ctx context.Context, ref reference.Named) (Blob, error) {
	ref = reference.TagNameOnly(ref)
	return c.manifest(ctx, ref, identifier(ref))
}

// Config returns the config that a manifest of ref's repository names.
func (c *Client) Config(ctx context.Context, ref reference.Named, manifest Blob) ([]byte, error) {
	img := &Image{Ref: ref, Manifest: manifest}
	if err := c.fillImage(ctx, img); err != nil {
		return nil, err
	}
	return img.Config.Data, nil
}

// Copy brings a manifest, or an index with all that it names, from the repository of one name into that of another.
// It has no tag there. Blobs move only where the registry cannot take them over from its own repository.
func (c *Client) Copy(ctx context.Context, from, to reference.Named, m Blob) error {
	if from.Name() == to.Name() {
		return nil
	}
	return c.copyNested(ctx, from, to, m, 0)
}

func (c *Client) copyNested(ctx context.Context, from, to reference.Named, m Blob, depth int) error {
	if depth > maxNesting {
		return fmt.Errorf("%s: indexes are nested more than %d deep", reference.FamiliarString(from), maxNesting)
	}
	var content struct {
		Manifests []ocispec.Descriptor `json:"manifests"`
		Config    *ocispec.Descriptor  `json:"config"`
		Layers    []ocispec.Descriptor `json:"layers"`
	}
	if err := json.Unmarshal(m.Data, &content); err != nil {
		return fmt.Errorf("%s: reading the manifest %s: %w", reference.FamiliarString(from), m.Digest, err)
	}
	for _, d := range content.Manifests {
		child, err := c.childManifest(ctx, from, d.Digest)
		if err != nil {
			return err
		}
		if err := c.copyNested(ctx, from, to, child, depth+1); err != nil {
			return err
		}
	}
	blobs := content.Layers
	if content.Config != nil {
		blobs = append(blobs, *content.Config)
	}
	uploads := make([]Upload, 0, len(blobs))
	for _, d := range blobs {
		uploads = append(uploads, Upload{
			Desc: d, MountFrom: []reference.Named{from},
			Open: func() (io.ReadCloser, error) { return c.Open(ctx, from, d, 0) },
		})
	}
	target, err := reference.WithDigest(reference.TrimNamed(to), m.Digest)
	if err != nil {
		return err
	}
	_, err = c.Push(ctx, target, uploads, m, nil)
	return err
}

// childManifest is a manifest of an index.
func (c *Client) childManifest(ctx context.Context, ref reference.Named, d digest.Digest) (Blob, error) {
	child, err := reference.WithDigest(reference.TrimNamed(ref), d)
	if err != nil {
		return Blob{}, fmt.Errorf("%s: an entry of the index has the digest %q: %w", reference.FamiliarString(ref), d, err)
	}
	return c.Manifest(ctx, child)
}
