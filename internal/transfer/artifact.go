package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// Obtainable says whether a layer is here or known to be at some place.
func (m *Mover) Obtainable(d digest.Digest) (bool, error) {
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

// Locate notes where the layers of an image in a registry can be had, and returns its config.
func (m *Mover) Locate(ref reference.Named, img *registry.Image) (*image.Config, error) {
	found, err := m.locate(ref, img)
	if err != nil {
		return nil, err
	}
	return found.config, nil
}

// Pack makes config and manifest of an artifact. blobs are the compressed forms of its layers.
type Pack func(blobs []ocispec.Descriptor) (config, manifest registry.Blob, err error)

// PushArtifact sends layers and what pack makes of them to ref's registry, under ref's tag. What the registry has is
// not sent, and no layer comes to this machine for it. pack is called again if a blob turns out to be gone where it
// was.
func (m *Mover) PushArtifact(ctx context.Context, ref reference.Named, diffIDs []digest.Digest, pack Pack) error {
	p, err := m.With(nil).newPush(ref, diffIDs) // events are of what the build fetches
	if err != nil {
		return err
	}
	var config, manifest registry.Blob
	_, blobs, err := p.send(ctx, func(ctx context.Context) (*parcel, error) {
		blobs, err := p.chooseAll(ctx)
		if err != nil {
			return nil, err
		}
		descs := make([]ocispec.Descriptor, len(blobs))
		for i, b := range blobs {
			descs[i] = ociDescriptor(b)
		}
		config, manifest, err = pack(descs)
		return &parcel{blobs, config, manifest}, err
	})
	if err != nil {
		return err
	}
	return p.noteBlobs(blobs, config.Digest)
}

// BlobTarget is a place that blobs are sent to.
type BlobTarget interface {
	// Has says whether the place has a blob.
	Has(ctx context.Context, desc ocispec.Descriptor) (bool, error)
	// Write writes a blob, which the place has under its digest once all of it is there. Where r fails the place keeps
	// nothing: the reader fails too if the bytes are not those of the digest.
	Write(ctx context.Context, desc ocispec.Descriptor, r io.Reader) error
}

// SendLayer sees to it that a place has a compressed form of a layer, and says which: the one that it has already if
// there is one, one that is known, passed on from where it is, or a new one, compressed as want says.
func (m *Mover) SendLayer(ctx context.Context, diffID digest.Digest, want layer.Compression, to BlobTarget) (ocispec.Descriptor, error) {
	m = m.With(nil) // events are of what the build fetches
	known, err := m.Store.Blobs(diffID)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	known = slices.DeleteFunc(known, func(b store.Blob) bool { return b.MediaType == ocispec.MediaTypeImageLayer })
	for _, b := range known {
		if has, err := to.Has(ctx, b.Descriptor()); err != nil || has {
			return ociDescriptor(b), err
		}
	}
	var failure error
	for _, b := range known {
		if failure = m.sendBlob(ctx, b, known, to); failure == nil || ctx.Err() != nil {
			return ociDescriptor(b), failure
		}
	}
	l, err := m.Store.Layer(diffID)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if !l.Present() {
		return ocispec.Descriptor{}, fmt.Errorf("layer %s is neither on this machine nor at its source: %w", l.DiffID, failure)
	}
	b, err := m.compress(ctx, l, form{compression: want}, nil)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return ociDescriptor(b), m.sendBlob(ctx, b, nil, to)
}

// sendBlob passes on a blob from where it is.
func (m *Mover) sendBlob(ctx context.Context, b store.Blob, known []store.Blob, to BlobTarget) error {
	r, err := m.open(ctx, b, known)
	if err != nil {
		return err
	}
	defer r.Close()
	return to.Write(ctx, b.Descriptor(), &verifiedReader{r, b.Digest, b.Digest.Verifier()})
}

// verifiedReader reads a blob, and fails at its end if the bytes are not those of its digest.
type verifiedReader struct {
	r        io.Reader
	digest   digest.Digest
	verifier digest.Verifier
}

func (v *verifiedReader) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.verifier.Write(p[:n]) // a hash takes everything
	if err == io.EOF && !v.verifier.Verified() {
		err = fmt.Errorf("blob %s does not have the bytes that its digest promises", v.digest)
	}
	return n, err
}
