package artifact

import (
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/cache/packed"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// The types of the manifest of a cache mount, of its config, which is the document, and of its blobs.
const (
	MountType       = "application/vnd.strata.mount.v1"
	MountConfigType = "application/vnd.strata.mount.config.v1+json"
	mountBlobType   = "application/vnd.strata.mount.blob.v1+zstd"
)

// MountName is the annotation of a descriptor of such a manifest that says of which mount it is.
const MountName = "dev.strata.mount"

// EncodeMount makes config and manifest of a document. The manifest's layers are the document's blobs, so that whatever
// collects garbage keeps them.
func EncodeMount(d *packed.Document) (conf, manifest registry.Blob, err error) {
	if conf, err = encode(MountConfigType, d); err != nil {
		return conf, manifest, err
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		ArtifactType: MountType, Config: conf.Descriptor(),
	}
	// A registry may refuse a manifest that names a layer twice.
	seen := map[digest.Digest]bool{}
	for _, b := range d.Blobs() {
		if !seen[b.Digest] {
			seen[b.Digest] = true
			m.Layers = append(m.Layers, MountBlob(b))
		}
	}
	manifest, err = encode(ocispec.MediaTypeImageManifest, m)
	return conf, manifest, err
}

// MountBlob is the descriptor of a blob of a document.
func MountBlob(b packed.Blob) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mountBlobType, Digest: b.Digest, Size: b.Size}
}

// DecodeMount reads a config as EncodeMount makes it; packed.ErrNone where it is damaged or of another mount.
func DecodeMount(conf []byte, name packed.Name) (*packed.Document, error) {
	var d packed.Document
	if err := json.Unmarshal(conf, &d); err != nil {
		return nil, fmt.Errorf("%w: %w", packed.ErrNone, err)
	}
	return &d, d.CheckFor(name)
}
