package registry

import (
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/image/platform"
)

// Annotations of index entries that stand beside the images and are none: what is attested of one, and of which
// manifest (github.com/moby/buildkit, docs/attestations/attestation-storage.md).
const (
	ReferenceType   = "vnd.docker.reference.type"
	ReferenceDigest = "vnd.docker.reference.digest"
)

// Choose is the entry of an index that suits a platform best. Its error wraps ErrPlatform and lists what the index has.
func Choose(entries []ocispec.Descriptor, want ocispec.Platform) (ocispec.Descriptor, error) {
	return choose(entries, want)
}

// choose returns the entry of an index that suits the platform best. Its error wraps ErrPlatform and lists
// what the index has.
func choose(entries []ocispec.Descriptor, want ocispec.Platform) (ocispec.Descriptor, error) {
	var images []ocispec.Descriptor
	for _, d := range entries {
		isArtifact := d.ArtifactType != "" && !isImageConfig(d.ArtifactType) // a SOCI index has the image's platform
		if d.Annotations[ReferenceType] == "" && !isArtifact && (IsManifest(d.MediaType) || isIndex(d.MediaType)) {
			images = append(images, d)
		}
	}
	best, bestRank := -1, -1
	for i, d := range images {
		if d.Platform == nil {
			continue
		}
		if r := platform.Rank(*d.Platform, want); r > bestRank {
			best, bestRank = i, r
		}
	}
	if best >= 0 {
		return images[best], nil
	}
	if len(images) == 1 && images[0].Platform == nil { // an index of one, by a tool that names no platform
		return images[0], nil
	}
	var have []ocispec.Platform
	for _, d := range images {
		if d.Platform != nil {
			have = append(have, *d.Platform)
		}
	}
	if len(have) == 0 {
		return ocispec.Descriptor{}, fmt.Errorf("the index lists no image: %w", ErrPlatform)
	}
	return ocispec.Descriptor{}, fmt.Errorf("%w: it is not there for %s, only for %s", ErrPlatform,
		platform.Format(want), platform.FormatAll(have))
}
