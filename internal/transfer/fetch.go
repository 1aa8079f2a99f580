package transfer

import (
	"context"
	"errors"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// sink lets package registry write one blob into the store.
type sink struct {
	store *store.Store
	// unpack, if not nil, is told of the blob that begins to be written.
	unpack func(*store.Ingest) error
}

func (s *sink) Has(d digest.Digest) (bool, error) { return s.store.HasBlob(d), nil }

func (s *sink) Ingest(ctx context.Context, d digest.Digest, size int64) (registry.Ingest, error) {
	in, err := s.store.Ingest(ctx, d, size)
	if err == nil && s.unpack != nil {
		err = s.unpack(in)
	}
	if err != nil {
		return nil, err
	}
	return ingest{in}, nil
}

type ingest struct{ *store.Ingest }

func (in ingest) Commit() error {
	err := in.Ingest.Commit()
	if m := (*store.MismatchError)(nil); errors.As(err, &m) {
		return &registry.DigestError{Want: m.Want, Got: m.Got}
	}
	return err
}

// fetch brings a blob into the store and notes there whose compressed form it is, so that the layer's exact
// tar can be had from it again.
func (m *Mover) fetch(ctx context.Context, ref reference.Named, desc ocispec.Descriptor) error {
	return m.fetchInto(ctx, ref, desc, &sink{store: m.Store})
}

func (m *Mover) fetchInto(ctx context.Context, ref reference.Named, desc ocispec.Descriptor, to *sink) error {
	err := m.Registry.Fetch(ctx, ref, desc, to, func(current, total int64) {
		m.report(desc.Digest, event.Downloading, current, total)
	})
	if err != nil {
		return err
	}
	if err := m.noteHere(desc); err != nil {
		return err
	}
	m.report(desc.Digest, "Download complete", 0, 0)
	return nil
}

// noteHere notes that a blob is in the store.
func (m *Mover) noteHere(desc ocispec.Descriptor) error {
	diffID, err := m.Store.DiffIDOf(desc.Digest)
	if err != nil || diffID == "" {
		return err
	}
	return m.Store.AddBlob(diffID, store.Blob{Digest: desc.Digest, Size: desc.Size, MediaType: desc.MediaType})
}

// fetchLayer brings a layer, whose blob may be here already. It is unpacked while it is downloaded: the digest of the
// blob is checked before the layer's tar is known to be complete, and that one's digest before the layer gets its name.
func (m *Mover) fetchLayer(ctx context.Context, ref reference.Named, desc ocispec.Descriptor, diffID digest.Digest) error {
	var u *store.Unpacking
	err := m.fetchInto(ctx, ref, desc, &sink{store: m.Store, unpack: func(in *store.Ingest) (err error) {
		u, err = m.Store.UnpackWhile(ctx, diffID, in)
		return err
	}})
	if u != nil {
		m.report(desc.Digest, "Extracting", desc.Size, desc.Size)
		unpackErr := u.Wait()
		if err == nil && !errors.Is(unpackErr, store.ErrNotFound) {
			return unpackErr
		}
	}
	if err != nil {
		return err
	}
	return m.unpack(ctx, desc, diffID)
}

// unpack makes a layer out of a blob that is here.
func (m *Mover) unpack(ctx context.Context, desc ocispec.Descriptor, diffID digest.Digest) error {
	blob, err := m.Store.OpenBlob(desc.Digest)
	if err != nil {
		return err
	}
	defer blob.Close()
	return m.Store.Unpack(ctx, diffID, &meter{r: blob, report: func(n int64) { m.report(desc.Digest, "Extracting", n, desc.Size) }})
}
