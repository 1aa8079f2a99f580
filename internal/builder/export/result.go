package export

import (
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/transfer"
)

// Result is what the outputs gave.
type Result struct {
	// ID is the image's, or of several platforms the index's digest, or the first one's ID where there is no index; ""
	// where the result is only files.
	ID digest.Digest
	// Names are those that images have in the store now.
	Names []reference.Named
	// Descriptor is that of the manifest or index that went out last; nil if none was made.
	Descriptor *ocispec.Descriptor

	config digest.Digest // of an image for one platform
}

// image takes over what image there is.
func (r *Result) image(p *packed) {
	r.ID = p.bundle.Items[0].ID
	if !p.bundle.Index {
		r.config = r.ID
	} else if r.Descriptor != nil {
		r.ID = r.Descriptor.Digest
	}
}

// describe takes over what went out.
func (r *Result) describe(sent *transfer.Sent, p *packed) {
	r.Descriptor = &sent.Descriptor
	if p.bundle.Index {
		r.ID = sent.Descriptor.Digest
	}
}

// Metadata is what --metadata-file has, under the names of buildx. Without a manifest the image's digest is its ID,
// as in a Docker whose store has no manifests.
func (r *Result) Metadata() map[string]any {
	m := map[string]any{}
	if r.config != "" {
		m["containerimage.config.digest"] = r.config
	}
	if r.ID != "" {
		m["containerimage.digest"] = r.ID
	}
	if r.Descriptor != nil {
		m["containerimage.descriptor"] = r.Descriptor
		m["containerimage.digest"] = r.Descriptor.Digest
	}
	var names []string
	for _, ref := range r.Names {
		names = append(names, ref.String())
	}
	if len(names) > 0 {
		m["image.name"] = strings.Join(names, ",")
	}
	return m
}
