package builder

import (
	"net/url"
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
		if password := passwordOf(value); password != "" {
			secrets.Hide(password)
			if plain, err := url.PathUnescape(password); err == nil {
				secrets.Hide(plain)
			}
		}
	}
	return secrets.Mask
}

// passwordOf is the password in the address of a proxy, with a scheme or without one, as it is written there; "" for none.
func passwordOf(address string) string {
	if _, rest, ok := strings.Cut(address, "://"); ok {
		address = rest
	}
	at := strings.LastIndexByte(address, '@')
	_, password, _ := strings.Cut(address[:max(0, at)], ":")
	return password
}
