package transfer

import (
	"context"
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
	return fmt.Sprintf("%s%s%d", f.compression, levelMark, *f.level)
}

// fits says whether a blob has the form; made are those that were made here at a level.
func (f form) fits(b store.Blob, made map[string]digest.Digest) bool {
	if f.level != nil {
		return b.Digest == made[f.how()]
	}
	for _, d := range made {
		if d == b.Digest {
			return false // what others asked for would make another manifest of the same build
		}
	}
	switch f.compression {
	case layer.Gzip:
		return isGzip(b.MediaType)
	case layer.Zstd:
		return strings.HasSuffix(b.MediaType, "zstd")
	}
	return true
}

// rankOf orders the forms of a layer of which any would do, so that it is the same one whatever others were made:
// gzip, which everybody reads, before the others.
func rankOf(b store.Blob) int {
	if isGzip(b.MediaType) {
		return 0
	}
	return 1
}

// madeAtLevels are the blobs that were made of a layer at a level, by how.
func (m *Mover) madeAtLevels(l *store.Layer) (map[string]digest.Digest, error) {
	made, err := m.Store.DerivedOf(l.DiffID)
	for how := range made {
		if !strings.Contains(how, levelMark) {
			delete(made, how)
		}
	}
	return made, err
}

// levelMark is in how of what was made at a level.
const levelMark = " level "

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
