package cli

import (
	"os"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/pflag"

	"github.com/strata-build/strata/internal/image/platform"
)

// defaultPlatform is the environment variable that replaces --platform in Docker's command line.
const defaultPlatform = "DOCKER_DEFAULT_PLATFORM"

// platformFlag adds --platform for one platform.
func platformFlag(fl *pflag.FlagSet, value *string) {
	fl.StringVar(value, "platform", "", "the image for this `PLATFORM`, such as linux/arm64 (default DOCKER_DEFAULT_PLATFORM, or this machine's platform)")
}

// platformAsked says whether a --platform is given, or DOCKER_DEFAULT_PLATFORM in its place.
func platformAsked(flag string) bool { return flag != "" || os.Getenv(defaultPlatform) != "" }

// parsePlatform reads a --platform for one platform.
func parsePlatform(flag string) (ocispec.Platform, error) {
	if flag == "" {
		flag = os.Getenv(defaultPlatform)
	}
	if flag == "" {
		return platform.Local(), nil
	}
	p, err := platform.Parse(flag, platform.Local())
	if err != nil {
		return p, usageError("--platform %w", err)
	}
	return p, nil
}

// onlyPlatformFlag adds --platform for one of the images that a name means.
func onlyPlatformFlag(fl *pflag.FlagSet, value *string) {
	fl.StringVar(value, "platform", "", "only the image for this `PLATFORM`, if the name has images for several")
}

// parseOnlyPlatform parses a --platform that selects one of the images of a name; nil if it is not
// given.
func parseOnlyPlatform(flag string) (*ocispec.Platform, error) {
	if flag == "" {
		return nil, nil
	}
	p, err := parsePlatform(flag)
	return &p, err
}

// parsePlatforms parses the values of a --platform for several platforms; without a value it
// returns this machine's platform.
func parsePlatforms(flags []string) ([]ocispec.Platform, error) {
	if env := os.Getenv(defaultPlatform); len(flags) == 0 && env != "" {
		flags = []string{env}
	}
	all, err := platform.ParseList(flags, platform.Local())
	if err != nil {
		return nil, usageError("--platform %w", err)
	}
	for _, p := range all {
		if p.OS != "linux" {
			return nil, usageError("--platform %s: images are built for Linux only", platform.Format(p))
		}
	}
	return all, nil
}
