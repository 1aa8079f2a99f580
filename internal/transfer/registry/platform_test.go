package registry

import (
	"errors"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func platformOf(os, arch, variant string) *ocispec.Platform {
	return &ocispec.Platform{OS: os, Architecture: arch, Variant: variant}
}

func TestChoose(t *testing.T) {
	entry := func(name string, p *ocispec.Platform) ocispec.Descriptor {
		return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString(name), Platform: p}
	}
	attested := entry("attestation", platformOf("linux", "amd64", ""))
	attested.Annotations = map[string]string{ReferenceType: "attestation-manifest"}
	artifact := entry("artifact", platformOf("linux", "amd64", ""))
	artifact.MediaType = "application/spdx+json"
	arms := []ocispec.Descriptor{
		entry("v5", platformOf("linux", "arm", "v5")), entry("v7", platformOf("linux", "arm", "v7")), entry("v6", platformOf("linux", "arm", "v6")),
	}
	for _, test := range []struct {
		name    string
		entries []ocispec.Descriptor
		want    *ocispec.Platform
		get     string // "" for none
	}{
		{"no images beside it", []ocispec.Descriptor{attested, artifact, entry("right", platformOf("linux", "amd64", ""))}, platformOf("linux", "amd64", ""), "right"},
		{"only what is no image", []ocispec.Descriptor{attested, artifact}, platformOf("linux", "amd64", ""), ""},
		{"the best variant", arms, platformOf("linux", "arm", ""), "v7"},
		{"not above its own variant", arms, platformOf("linux", "arm", "v6"), "v6"},
		{"armel", arms, platformOf("linux", "armel", ""), "v6"},
		{"32 bits on arm64", arms, platformOf("linux", "arm64", ""), "v7"},
		{"32 bits on amd64", []ocispec.Descriptor{entry("386", platformOf("linux", "386", ""))}, platformOf("linux", "amd64", ""), "386"},
		{"64 bits before 32", []ocispec.Descriptor{entry("386", platformOf("linux", "386", "")), entry("64", platformOf("linux", "amd64", ""))}, platformOf("linux", "amd64", ""), "64"},
		{"arm is not arm64", []ocispec.Descriptor{entry("arm64", platformOf("linux", "arm64", ""))}, platformOf("linux", "arm", "v7"), ""},
		{"an unknown variant", arms, platformOf("linux", "arm", "weird"), ""},
		{"a variant too new", []ocispec.Descriptor{entry("v3", platformOf("linux", "amd64", "v3"))}, platformOf("linux", "amd64", ""), ""},
		{"the first of equals", []ocispec.Descriptor{entry("1", platformOf("linux", "x86_64", "")), entry("2", platformOf("linux", "amd64", ""))}, platformOf("linux", "amd64", ""), "1"},
		{"the only one, without platform", []ocispec.Descriptor{entry("x", nil)}, platformOf("linux", "amd64", ""), "x"},
		{"two without platform", []ocispec.Descriptor{entry("x", nil), entry("y", nil)}, platformOf("linux", "amd64", ""), ""},
		{"another system", []ocispec.Descriptor{entry("x", platformOf("windows", "amd64", ""))}, platformOf("linux", "amd64", ""), ""},
	} {
		got, err := choose(test.entries, *test.want)
		if test.get == "" {
			if !errors.Is(err, ErrPlatform) {
				t.Errorf("%s: %v, want ErrPlatform", test.name, err)
			}
			continue
		}
		if err != nil || got.Digest != digest.FromString(test.get) {
			t.Errorf("%s: %v, %v, want %s", test.name, got.Platform, err, test.get)
		}
	}
}
