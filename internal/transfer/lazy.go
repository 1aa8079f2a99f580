package transfer

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/layer/chunked"
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

// noteChunked notes of an image's layers of which parts can be read that they can be, and how.
func (m *Mover) noteChunked(diffIDs []digest.Digest, img *registry.Image) error {
	for i, desc := range img.Layers {
		annotations := chunked.Annotations(desc)
		if annotations == nil {
			continue
		}
		if err := m.Store.NoteChunked(diffIDs[i], desc.Digest, annotations); err != nil {
			return err
		}
	}
	return nil
}
