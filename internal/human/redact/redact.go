// Package redact hides what looks like the value of a secret in a text that people, or other machines, get to read.
package redact

import (
	"path"
	"regexp"
	"strings"
	"sync"
)

// Hidden stands for a value that is not shown.
const Hidden = "(hidden)"

// secretNames are words that a name has which stands for a secret.
func secretNames() []string {
	return []string{"PASS", "SECRET", "TOKEN", "KEY", "CREDENTIAL", "AUTH", "PRIVATE", "COOKIE", "SESSION", "DSN"}
}

// IsSecret says whether the name of a variable looks like that of a secret.
func IsSecret(name string) bool {
	upper := strings.ToUpper(name)
	for _, word := range secretNames() {
		if strings.Contains(upper, word) {
			return true
		}
	}
	return false
}

var secretPatterns = sync.OnceValue(func() []*regexp.Regexp {
	name := `[\w.-]*(?:` + strings.Join(secretNames(), "|") + `)[\w.-]*`
	return []*regexp.Regexp{
		// user:password in an address
		regexp.MustCompile(`(://[^/\s:@]*:)([^/\s@]+)(@)`),
		regexp.MustCompile(`(?i)(\b(?:bearer|basic)\s+)(\S+)`),
		// ENV NAME value
		regexp.MustCompile(`(?i)^((?:ENV|LABEL)\s+` + name + `\s+)(\S.*)$`),
		// NAME=value, NAME: value, "name": "value", --name value
		regexp.MustCompile(`(?i)(` + name + `["']?\s*[=:]\s*)("[^"]*"|'[^']*'|\S+)`),
		regexp.MustCompile(`(?i)(--?` + name + `\s+)("[^"]*"|'[^']*'|\S+)`),
	}
})

// Mask hides in a text what looks like the value of a secret.
func Mask(text string) string {
	lower := strings.ToLower(text)
	if !IsSecret(text) && !strings.Contains(text, "://") && !strings.Contains(lower, "bearer") && !strings.Contains(lower, "basic") {
		return text // most do not, and patterns take a while to make
	}
	for _, p := range secretPatterns() {
		text = p.ReplaceAllString(text, "${1}"+Hidden+"${3}")
	}
	return text
}

// IsSecretFile says whether the lines of a file should not be shown, by its name.
func IsSecretFile(name string) bool {
	base := strings.ToLower(path.Base(name))
	if strings.HasPrefix(base, ".env") || strings.HasPrefix(base, "id_") || IsSecret(base) {
		return true
	}
	switch base {
	case ".npmrc", ".pypirc", ".netrc", ".htpasswd", ".pgpass", ".git-credentials":
		return true
	}
	switch path.Ext(base) {
	case ".pem", ".key", ".p12", ".pfx", ".jks", ".kdbx", ".asc", ".gpg":
		return true
	}
	return false
}
