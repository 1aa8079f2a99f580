package registry

import (
	"fmt"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// attestation marks index entries that BuildKit adds beside the images; they are no images.
const attestation = "vnd.docker.reference.type"

// choose returns the entry of an index that suits the platform best. Its error wraps ErrPlatform and lists
// what the index has.
func choose(entries []ocispec.Descriptor, want ocispec.Platform) (ocispec.Descriptor, error) {
	var images []ocispec.Descriptor
	for _, d := range entries {
		if d.Annotations[attestation] == "" && (isManifest(d.MediaType) || isIndex(d.MediaType)) {
			images = append(images, d)
		}
	}
	best, bestRank := -1, -1
	for i, d := range images {
		if d.Platform == nil {
			continue
		}
		if r := rank(*d.Platform, want); r > bestRank {
			best, bestRank = i, r
		}
	}
	if best >= 0 {
		return images[best], nil
	}
	if len(images) == 1 && images[0].Platform == nil { // an index of one, by a tool that names no platform
		return images[0], nil
	}
	var have []string
	for _, d := range images {
		if d.Platform != nil {
			have = append(have, formatPlatform(*d.Platform))
		}
	}
	if len(have) == 0 {
		return ocispec.Descriptor{}, fmt.Errorf("the index lists no image: %w", ErrPlatform)
	}
	return ocispec.Descriptor{}, fmt.Errorf("%w: it is not there for %s, only for %s", ErrPlatform,
		formatPlatform(want), strings.Join(slices.Compact(have), ", "))
}

// rank says how well an image for have runs on want: -1 not at all, more is better. A CPU runs what was built
// for earlier variants of its architecture, so the highest one that is not above its own wins.
func rank(have, want ocispec.Platform) int {
	have, want = normal(have), normal(want)
	if have.OS != want.OS || have.Architecture != want.Architecture {
		return -1
	}
	h, w := variantLevel(have.Variant), variantLevel(want.Variant)
	if have.Variant == want.Variant {
		return 100
	}
	if h < 0 || w < 0 || h > w {
		return -1
	}
	return h
}

// normal spells a platform as the OCI image spec does, with the variant that an absent one stands for
// (containerd/platforms: v7 of arm, v8 of arm64, v1 of amd64).
func normal(p ocispec.Platform) ocispec.Platform {
	p.OS, p.Architecture, p.Variant = strings.ToLower(p.OS), strings.ToLower(p.Architecture), strings.ToLower(p.Variant)
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "aarch64":
		p.Architecture = "arm64"
	case "armhf":
		p.Architecture, p.Variant = "arm", "v7"
	case "armel":
		p.Architecture, p.Variant = "arm", "v6"
	case "i386", "i486", "i586", "i686":
		p.Architecture = "386"
	}
	if p.Variant != "" && p.Variant[0] >= '0' && p.Variant[0] <= '9' {
		p.Variant = "v" + p.Variant
	}
	if p.Variant == "" {
		switch p.Architecture {
		case "amd64":
			p.Variant = "v1"
		case "arm":
			p.Variant = "v7"
		case "arm64":
			p.Variant = "v8"
		}
	}
	return p
}

// variantLevel orders "v5" < "v6" < "v8.1" …; -1 for what is no such variant.
func variantLevel(v string) int {
	var major, minor int
	if n, _ := fmt.Sscanf(v, "v%d.%d", &major, &minor); n < 1 || major < 0 || major > 9 || minor < 0 || minor > 9 {
		return -1
	}
	return 10*major + minor
}

// formatPlatform writes linux/arm/v7.
func formatPlatform(p ocispec.Platform) string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}
