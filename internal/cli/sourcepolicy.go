package cli

import (
	"os"
	"path/filepath"
	"strconv"

	"github.com/strata-build/strata/internal/builder"
)

// policyInstead is what a person does without source policies, which say what a build may read.
const policyInstead = "source policies are not supported, and a build without it could use what it forbids; "

// checkPolicy refuses a build that docker would do by a source policy: it is there for safety, and is not left out
// silently. disabled is --policy disabled=true.
func checkPolicy(s builder.Source, disabled bool) error {
	if file := os.Getenv("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY"); file != "" {
		return usageError("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY=%s: %sunset it, and name base images by their digests", file, policyInstead)
	}
	if disabled {
		return nil
	}
	if on, err := strconv.ParseBool(os.Getenv("BUILDX_DEFAULT_POLICY")); err == nil && on {
		return usageError("BUILDX_DEFAULT_POLICY: %sunset it, and name base images by their digests", policyInstead)
	}
	file := s.Dockerfile
	if file == "" {
		file = filepath.Join(s.Context, "Dockerfile")
	}
	file += ".rego"
	if st, err := os.Stat(file); err == nil && st.Mode().IsRegular() {
		return usageError("%s: %sbuild without it by --policy disabled=true", file, policyInstead)
	}
	return nil
}
