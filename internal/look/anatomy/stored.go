package anatomy

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store"
)

// stored is a layer that the store knows, be its bytes here or in a registry.
type stored struct {
	store *store.Store
	layer *store.Layer // nil where nothing is known of it but its diffID
	id    digest.Digest
}

func newStored(s *store.Store, diffID digest.Digest) (part, error) {
	l, err := s.Layer(diffID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	return &stored{s, l, diffID}, nil
}

func (p *stored) known() bool { return p.store.HasTOC(p.id) }

func (p *stored) here() bool {
	if p.known() || p.layer != nil && p.layer.Present() {
		return true
	}
	blobs, err := p.store.Blobs(p.id)
	return err == nil && slices.ContainsFunc(blobs, func(b store.Blob) bool { return p.store.HasBlob(b.Digest) })
}

func (p *stored) look(ctx context.Context) error {
	if p.known() {
		return nil
	}
	if err := p.unavailable(); err != nil {
		return err
	}
	return p.layer.Look(ctx)
}

// unavailable is an error for a layer of which at most the table of contents is known, as of an archive's.
func (p *stored) unavailable() error {
	if p.layer == nil {
		return &store.UnavailableError{DiffID: p.id, Cause: errors.New("no source of it is known; name the archive or pull the image")}
	}
	return nil
}

func (p *stored) each(fn func(*layer.Entry) error) error { return p.store.EachEntry(p.id, fn) }

func (p *stored) open(ctx context.Context, e *layer.Entry) (io.ReadCloser, error) {
	if err := p.unavailable(); err != nil {
		return nil, err
	}
	return p.layer.OpenFile(ctx, e)
}

func (p *stored) read(ctx context.Context, entries []*layer.Entry, fn func(*layer.Entry, io.Reader) error) error {
	if err := p.unavailable(); err != nil {
		return err
	}
	return p.layer.ReadFiles(ctx, entries, fn)
}

func (p *stored) blob() (digest.Digest, int64) {
	blobs, err := p.store.Blobs(p.id)
	if err != nil || len(blobs) == 0 {
		return "", -1
	}
	return blobs[0].Digest, blobs[0].Size
}
