package transfer

import (
	"encoding/json"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// Docker's media types of layers, of the image manifest V2 schema 2
// (github.com/distribution/distribution/blob/main/docs/content/spec/manifest-v2-2.md).
const (
	dockerTar   = "application/vnd.docker.image.rootfs.diff.tar"
	dockerLayer = dockerTar + ".gzip"
)

// newManifest makes the manifest of an image: Docker's kind, which every registry and client reads, unless a
// layer is compressed in a way that only OCI's has a media type for, or there are annotations.
// annotations are those of the layers, nil for none.
func newManifest(config []byte, layers []store.Blob, annotations []map[string]string, want Packing) (registry.Blob, error) {
	m := ocispec.Manifest{
		Versioned:   specs.Versioned{SchemaVersion: 2},
		MediaType:   registry.DockerManifest,
		Config:      ocispec.Descriptor{MediaType: registry.DockerConfig, Digest: digest.FromBytes(config), Size: int64(len(config))},
		Layers:      []ocispec.Descriptor{},
		Annotations: want.Annotations,
	}
	oci := len(want.Annotations) > 0 || annotations != nil
	for _, b := range layers {
		oci = oci || !isGzip(b.MediaType)
	}
	if want.OCI != nil {
		oci = *want.OCI
	}
	layerType := dockerLayerType
	if oci {
		m.MediaType, m.Config.MediaType, layerType = ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageConfig, ociLayer
	}
	for i, b := range layers {
		desc := b.Descriptor()
		desc.MediaType = layerType(desc.MediaType)
		if oci && annotations != nil {
			desc.Annotations = annotations[i]
		}
		m.Layers = append(m.Layers, desc)
	}
	data, err := json.MarshalIndent(m, "", "   ") // as Docker writes them
	return registry.Blob{MediaType: m.MediaType, Digest: digest.FromBytes(data), Data: data}, err
}

// dockerLayerType is Docker's media type for a layer that may have OCI's. There is none for zstd.
func dockerLayerType(mediaType string) string {
	switch {
	case isGzip(mediaType):
		return dockerLayer
	case strings.HasSuffix(mediaType, "zstd"):
		return dockerTar + ".zstd" // as BuildKit has it
	}
	return dockerTar
}

func isGzip(mediaType string) bool {
	return strings.HasSuffix(mediaType, "gzip")
}

// ociLayer is OCI's media type for a layer that may have Docker's.
func ociLayer(mediaType string) string {
	switch {
	case isGzip(mediaType):
		return ocispec.MediaTypeImageLayerGzip
	case strings.HasSuffix(mediaType, "zstd"):
		return ocispec.MediaTypeImageLayerZstd
	}
	return ocispec.MediaTypeImageLayer
}

// blobsOf are the layers of a manifest; nil if it cannot be read or is not about this config.
func blobsOf(m store.Manifest, config digest.Digest, layers int) []store.Blob {
	var read ocispec.Manifest
	if !registry.IsManifest(m.MediaType) || json.Unmarshal(m.Data, &read) != nil || read.Config.Digest != config || len(read.Layers) != layers {
		return nil
	}
	blobs := make([]store.Blob, 0, layers)
	for _, desc := range read.Layers {
		blobs = append(blobs, store.Blob{Digest: desc.Digest, Size: desc.Size, MediaType: desc.MediaType})
	}
	return blobs
}
