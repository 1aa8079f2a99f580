package reference

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// What Docker adds to short names, and the name that its registry had once.
const (
	hub      = "docker.io"
	oldHub   = "index.docker.io"
	official = "library/"
	latest   = "latest"
)

// ParseNormalizedNamed reads a reference as people write it: a name without a host is one of Docker Hub, and one
// without a slash an official image there. The ID of an image is none.
func ParseNormalizedNamed(s string) (Named, error) {
	if isIdentifier(s) {
		return nil, fmt.Errorf("invalid repository name (%s), cannot specify 64-byte hexadecimal strings", s)
	}
	domain, rest := addHub(s)
	if path, _, _ := strings.Cut(rest, ":"); path != strings.ToLower(path) {
		return nil, fmt.Errorf("invalid reference format: repository name (%s) must be lowercase", path)
	}
	ref, err := Parse(domain + "/" + rest)
	if err != nil {
		return nil, err
	}
	return ref.(Named), nil // Parse gives no others
}

// addHub splits off the host. What is before the first slash is one if it could be no path.
func addHub(s string) (domain, rest string) {
	first, others, ok := strings.Cut(s, "/")
	switch {
	case !ok:
		return hub, official + s
	case first == oldHub:
		domain, rest = hub, others
	case first == "localhost", strings.ContainsAny(first, ".:"), first != strings.ToLower(first):
		domain, rest = first, others
	default:
		domain, rest = hub, s
	}
	if domain == hub && !strings.Contains(rest, "/") {
		rest = official + rest
	}
	return domain, rest
}

// ParseDockerRef is ParseNormalizedNamed for what is pulled: with neither tag nor digest it gets the tag latest, and
// with both the digest counts.
func ParseDockerRef(s string) (Named, error) {
	ref, err := ParseNormalizedNamed(s)
	if err != nil {
		return nil, err
	}
	if both, ok := ref.(withBoth); ok {
		return withDigest{both.name, both.digest}, nil
	}
	return TagNameOnly(ref), nil
}

// TagNameOnly adds the tag latest where there are neither tag nor digest.
func TagNameOnly(ref Named) Named {
	if !IsNameOnly(ref) {
		return ref
	}
	return withTag{nameOf(ref), latest}
}

// familiar is a name as people write it.
func familiar(n name) name {
	if n.domain != hub {
		return n
	}
	n.domain = ""
	if short, ok := strings.CutPrefix(n.path, official); ok && !strings.Contains(short, "/") {
		n.path = short
	}
	return n
}

// FamiliarName is a name as people write it.
func FamiliarName(ref Named) string {
	if p, ok := ref.(parts); ok {
		return familiar(name{p.Domain(), p.Path()}).Name()
	}
	return ref.Name()
}

// FamiliarString is a reference as people write it.
func FamiliarString(ref Reference) string {
	p, ok := ref.(parts)
	if !ok {
		return ref.String()
	}
	var tag string
	var d digest.Digest
	if t, ok := ref.(Tagged); ok {
		tag = t.Tag()
	}
	if c, ok := ref.(Digested); ok {
		d = c.Digest()
	}
	return join(familiar(name{p.Domain(), p.Path()}), tag, d).String()
}
