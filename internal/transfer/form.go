package transfer

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store"
)

// Packing says in what form an image leaves the store.
type Packing struct {
	// Compression of the layers: None, Gzip or Zstd. "" takes whatever form there is of a layer, and gzip for one of
	// which there is none.
	Compression layer.Compression
	// Level of the compression, nil for the compression's own.
	Level *int
	// Base is how many of the layers are those of the image that it was built from. They keep the form that they
	// have, unless Force is set.
	Base  int
	Force bool
	// OCI says whether manifest and config get OCI's media types or Docker's; nil takes Docker's where they will do.
	OCI *bool
	// Annotations are the manifest's.
	Annotations map[string]string
}

// plain says that any form will do, so that a manifest that the image has already is as good as a new one.
func (p *Packing) plain() bool {
	return p.Compression == "" && p.Level == nil && !p.Force && p.OCI == nil && len(p.Annotations) == 0
}

// form is how the layer at index i is to be compressed.
func (p *Packing) form(i int) form {
	if i < p.Base && !p.Force {
		return form{}
	}
	return form{p.Compression, p.Level}
}

// form is how a layer is compressed; the zero value is any way.
type form struct {
	compression layer.Compression
	level       *int
}

// how says all that decides the bytes.
func (f form) how() string {
	if f.level == nil {
		return string(f.compression)
	}
	return fmt.Sprintf("%s level %d", f.compression, *f.level)
}

// fits says whether a blob has the form; made is the one that was made here of that level, "" if none was.
func (f form) fits(b store.Blob, made digest.Digest) bool {
	if f.level != nil {
		return b.Digest == made
	}
	switch f.compression {
	case layer.Gzip:
		return isGzip(b.MediaType)
	case layer.Zstd:
		return strings.HasSuffix(b.MediaType, "zstd")
	}
	return true
}

// madeAt is the blob that was made of a layer at a level, "" if none was.
func (m *Mover) madeAt(l *store.Layer, f form) (digest.Digest, error) {
	if f.level == nil {
		return "", nil
	}
	d, err := m.Store.Derived(l.DiffID, f.how())
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	return d.Digest, err
}

// uncompressed is a layer's tar as a blob.
func uncompressed(ctx context.Context, l *store.Layer) (store.Blob, error) {
	size, err := l.TarSize(ctx)
	return store.Blob{Digest: l.DiffID, Size: size, MediaType: ocispec.MediaTypeImageLayer}, err
}

// annotations are those that the layers' descriptors need, nil if none needs any.
func (p *push) annotations(blobs []store.Blob) ([]map[string]string, error) {
	var all []map[string]string
	for i, b := range blobs {
		seekable, err := p.seekableOf(p.layers[i].DiffID)
		if err != nil {
			return nil, err
		}
		if seekable == nil || seekable.Blob != b.Digest {
			continue
		}
		if all == nil {
			all = make([]map[string]string, len(blobs))
		}
		all[i] = seekable.Annotations
	}
	return all, nil
}
