package dockerfile

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/strata-build/strata/internal/human/suggest"
)

// Entitlement is something that only whoever starts the build can permit, with --allow.
type Entitlement string

// The entitlements that RUN knows (BuildKit's util/entitlements), and the one of buildx for outputs.
const (
	AllowNetworkHost      Entitlement = "network.host"        // RUN --network=host
	AllowSecurityInsecure Entitlement = "security.insecure"   // RUN --security=insecure
	AllowLocalDelete      Entitlement = "buildx.local.delete" // --output mode=delete of any directory
)

// ParseEntitlement reads what --allow takes.
func ParseEntitlement(text string) (Entitlement, error) {
	name, _, valued := strings.Cut(text, "=")
	switch {
	case name == "device":
		return "", errors.New("device: strata hands out no CDI devices, so there is nothing to permit; leave it out")
	case name == "fs" || strings.HasPrefix(name, "fs."):
		return "", fmt.Errorf("%s: this is an entitlement of buildx bake; a build reads and writes what its command line names, so leave it out", name)
	}
	known := []string{string(AllowNetworkHost), string(AllowSecurityInsecure), string(AllowLocalDelete)}
	if !slices.Contains(known, name) {
		return "", fmt.Errorf("unknown entitlement %s%s: it is one of %s", name, suggest.DidYouMean(name, known), strings.Join(known, ", "))
	}
	if valued {
		return "", fmt.Errorf("%s: %s takes no value", text, name)
	}
	return Entitlement(name), nil
}

// checkEntitled refuses what a RUN asks for and nobody allowed. BuildKit does so before anything runs, too.
func checkEntitled(c *instructions.RunCommand, allowed []Entitlement) error {
	var asked []Entitlement
	if instructions.GetNetwork(c) == instructions.NetworkHost {
		asked = append(asked, AllowNetworkHost)
	}
	if instructions.GetSecurity(c) == instructions.SecurityInsecure {
		asked = append(asked, AllowSecurityInsecure)
	}
	for _, e := range asked {
		if !slices.Contains(allowed, e) {
			return fmt.Errorf("%s is not allowed: if you trust this Dockerfile, build it with --allow %s", e, e)
		}
	}
	return nil
}
