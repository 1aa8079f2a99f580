// Package platform parses, formats and compares platforms such as "linux/arm/v7". Spellings,
// defaults and compatibility are those of containerd's platforms package, which Docker and BuildKit
// use.
package platform

import (
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/human/suggest"
)

// Local is this machine's platform.
func Local() ocispec.Platform {
	return Normal(ocispec.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH})
}

// Normal returns the normal form of a platform, as containerd does: amd64 for x86_64, arm/v7 for
// armhf, no variant if it is the default.
func Normal(p ocispec.Platform) ocispec.Platform {
	p.OS, p.Architecture, p.Variant = strings.ToLower(p.OS), strings.ToLower(p.Architecture), strings.ToLower(p.Variant)
	if p.OS == "macos" {
		p.OS = "darwin"
	}
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "aarch64":
		p.Architecture = "arm64"
	case "i386", "i486", "i586", "i686":
		p.Architecture, p.Variant = "386", ""
	case "armhf":
		p.Architecture, p.Variant = "arm", "v7"
	case "armel":
		p.Architecture, p.Variant = "arm", "v6"
	}
	if p.Variant != "" && p.Variant[0] >= '0' && p.Variant[0] <= '9' {
		p.Variant = "v" + p.Variant
	}
	switch {
	case p.Architecture == "amd64" && p.Variant == "v1", p.Architecture == "arm64" && p.Variant == "v8":
		p.Variant = ""
	case p.Architecture == "arm" && p.Variant == "":
		p.Variant = "v7"
	}
	return p
}

// Parse parses os, architecture, os/architecture, os/architecture/variant or "local"; missing parts
// are this machine's. A system or architecture that is not known is taken as it is, unless it is a misspelling of one.
func Parse(s string, here ocispec.Platform) (ocispec.Platform, error) {
	parts := strings.Split(s, "/")
	for _, part := range parts {
		if strings.Trim(part, ".") == "" || strings.Trim(strings.ToLower(part), "abcdefghijklmnopqrstuvwxyz0123456789_.-") != "" || len(parts) > 3 {
			return ocispec.Platform{}, fmt.Errorf("%q: a platform is written os/architecture or os/architecture/variant", s)
		}
	}
	var p ocispec.Platform
	switch {
	case len(parts) > 1:
		p.OS, p.Architecture = parts[0], parts[1]
		if len(parts) == 3 {
			p.Variant = parts[2]
		}
	case strings.EqualFold(parts[0], "local"):
		p = here
	case isOS(parts[0]):
		p = ocispec.Platform{OS: parts[0], Architecture: here.Architecture, Variant: here.Variant}
	default:
		p = ocispec.Platform{OS: here.OS, Architecture: parts[0]}
	}
	p = Normal(p)
	for _, word := range []struct {
		text, what string
		known      []string
	}{{p.OS, "operating system", systems}, {p.Architecture, "architecture", architectures}} {
		if near := suggest.Near(word.text, word.known); near != "" {
			return p, fmt.Errorf("%q: there is no %s %s%s", s, word.what, word.text, suggest.Question("", near))
		}
	}
	return p, nil
}

// systems and architectures are those that Go has, or had, names for, which Docker's platforms are made of.
var (
	systems = []string{
		"linux", "windows", "darwin", "freebsd", "netbsd", "openbsd", "dragonfly", "solaris", "illumos", "aix", "android", "js", "plan9", "wasip1",
	}
	architectures = []string{
		"amd64", "arm64", "arm", "386", "ppc64le", "ppc64", "s390x", "riscv64", "riscv", "loong64", "mips", "mipsle", "mips64", "mips64le",
		"armbe", "arm64be", "ppc", "s390", "sparc", "sparc64", "wasm",
	}
)

// ParseList parses platforms; each value is one, or several separated by commas. Duplicates are
// left out.
func ParseList(values []string, here ocispec.Platform) ([]ocispec.Platform, error) {
	var all []ocispec.Platform
	for _, value := range values {
		for text := range strings.SplitSeq(value, ",") {
			p, err := Parse(strings.TrimSpace(text), here)
			if err != nil {
				return nil, err
			}
			if !slices.ContainsFunc(all, func(q ocispec.Platform) bool { return Same(p, q) }) {
				all = append(all, p)
			}
		}
	}
	return all, nil
}

func isOS(s string) bool {
	s = strings.ToLower(s)
	return s == "macos" || slices.Contains(systems, s)
}

// Same reports whether two platforms have the same normal form.
func Same(a, b ocispec.Platform) bool {
	a, b = Normal(a), Normal(b)
	return a.OS == b.OS && a.Architecture == b.Architecture && a.Variant == b.Variant
}

// Format formats a platform as os/architecture/variant, without normalising it.
func Format(p ocispec.Platform) string { return path.Join(p.OS, p.Architecture, p.Variant) }

// FormatAll formats platforms with commas between them, without duplicates.
func FormatAll(all []ocispec.Platform) string {
	var texts []string
	for _, p := range all {
		if text := Format(p); !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	return strings.Join(texts, ", ")
}

// Rank returns how well an image for the platform have runs on want; -1 is not at all, more is
// better. A CPU runs programs that were built for earlier variants of its architecture, so the
// highest variant that is not above its own is best. Images for the 32 bits of amd64 and arm64 come
// last (containerd's platformVector).
func Rank(have, want ocispec.Platform) int {
	have, want = withVariant(Normal(have)), withVariant(Normal(want))
	switch {
	case have.OS != want.OS:
		return -1
	case want.Architecture == "amd64" && have.Architecture == "386":
		return 0
	case want.Architecture == "arm64" && have.Architecture == "arm":
		if level := variantLevel(have.Variant); level >= 50 && level <= 80 {
			return level / 10 // less than of any arm64
		}
		return -1
	case have.Architecture != want.Architecture:
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

// Suits reports whether an image with the platform have can be used for want. An image without a
// platform can.
func Suits(have, want ocispec.Platform) bool {
	if have.OS == "" {
		have.OS = want.OS
	}
	if have.Architecture == "" {
		have.Architecture, have.Variant = want.Architecture, want.Variant
	}
	return Rank(have, want) >= 0
}

// withVariant fills in the default variant of an architecture.
func withVariant(p ocispec.Platform) ocispec.Platform {
	if p.Variant == "" {
		switch p.Architecture {
		case "amd64":
			p.Variant = "v1"
		case "arm64":
			p.Variant = "v8"
		}
	}
	return p
}

// variantLevel returns a number that orders variants: "v5" < "v6" < "v8.1"; -1 for any other text.
func variantLevel(v string) int {
	var major, minor int
	if n, _ := fmt.Sscanf(v, "v%d.%d", &major, &minor); n < 1 || major < 0 || major > 9 || minor < 0 || minor > 9 {
		return -1
	}
	return 10*major + minor
}
