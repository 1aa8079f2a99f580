package builder

import (
	"strings"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/explain"
	"github.com/strata-build/strata/internal/sandbox/secret"
)

// logMask hides in what is kept of the steps' output the secrets that they were given, and the passwords of proxies, which
// are in the environment of each.
func (b *build) logMask() explain.Mask {
	secrets := b.Sandbox.Secrets
	if secrets == nil {
		secrets = &secret.Store{}
	}
	for name, value := range b.Target.Args {
		if !dockerfile.IsProxyArg(strings.ToUpper(name)) {
			continue
		}
		secrets.HidePassword(value)
	}
	return secrets.Mask
}
