package dockerfile

import (
	"fmt"
	"path"
	"runtime"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// normalPlatform spells a platform as containerd does: amd64 for x86_64, arm/v7 for armhf, no variant where it says nothing.
func normalPlatform(p ocispec.Platform) ocispec.Platform {
	p.OS, p.Architecture, p.Variant = strings.ToLower(p.OS), strings.ToLower(p.Architecture), strings.ToLower(p.Variant)
	if p.OS == "macos" {
		p.OS = "darwin"
	}
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "aarch64":
		p.Architecture = "arm64"
	case "i386":
		p.Architecture, p.Variant = "386", ""
	case "armhf":
		p.Architecture, p.Variant = "arm", "v7"
	case "armel":
		p.Architecture, p.Variant = "arm", "v6"
	}
	switch {
	case p.Architecture == "amd64" && p.Variant == "v1", p.Architecture == "arm64" && (p.Variant == "8" || p.Variant == "v8"):
		p.Variant = ""
	case p.Architecture == "arm" && p.Variant == "":
		p.Variant = "v7"
	case p.Architecture == "arm" && len(p.Variant) == 1:
		p.Variant = "v" + p.Variant
	}
	return p
}

// thisPlatform fills in what o leaves open with the machine's own.
func thisPlatform(p ocispec.Platform) ocispec.Platform {
	if p.OS == "" {
		p.OS = runtime.GOOS
	}
	if p.Architecture == "" {
		p.Architecture = runtime.GOARCH
	}
	return normalPlatform(p)
}

// parsePlatform reads os, architecture, os/architecture or os/architecture/variant; what is not said is as in here.
func parsePlatform(s string, here ocispec.Platform) (ocispec.Platform, error) {
	parts := strings.Split(s, "/")
	for _, part := range parts {
		if part == "" || strings.Trim(strings.ToLower(part), "abcdefghijklmnopqrstuvwxyz0123456789_.-") != "" || len(parts) > 3 {
			return ocispec.Platform{}, fmt.Errorf("--platform=%s: a platform is written os/architecture or os/architecture/variant", s)
		}
	}
	var p ocispec.Platform
	switch {
	case len(parts) > 1:
		p.OS, p.Architecture = parts[0], parts[1]
		if len(parts) == 3 {
			p.Variant = parts[2]
		}
	case isOS(parts[0]):
		p = ocispec.Platform{OS: parts[0], Architecture: here.Architecture, Variant: here.Variant}
	default:
		p = ocispec.Platform{OS: here.OS, Architecture: parts[0]}
	}
	return normalPlatform(p), nil
}

func isOS(s string) bool {
	switch strings.ToLower(s) {
	case "linux", "windows", "darwin", "macos", "freebsd", "netbsd", "openbsd", "dragonfly", "solaris", "illumos", "aix", "android", "js", "plan9", "wasip1":
		return true
	}
	return false
}

func samePlatform(a, b ocispec.Platform) bool {
	return a.OS == b.OS && a.Architecture == b.Architecture && a.Variant == b.Variant
}

func platformString(p ocispec.Platform) string { return path.Join(p.OS, p.Architecture, p.Variant) }
