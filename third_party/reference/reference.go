// Package reference reads and writes the names of images: the part of github.com/distribution/reference that is used,
// with the same results.
package reference

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// RepositoryNameTotalLengthMax is how long the path of a name may be, in bytes.
const RepositoryNameTotalLengthMax = 255

// What can be wrong with a reference.
var (
	ErrReferenceInvalidFormat = errors.New("invalid reference format")
	ErrTagInvalidFormat       = errors.New("invalid tag format")
	ErrDigestInvalidFormat    = errors.New("invalid digest format")
	ErrNameContainsUppercase  = errors.New("repository name must be lowercase")
	ErrNameEmpty              = errors.New("repository name must have at least one component")
	ErrNameTooLong            = fmt.Errorf("repository name must not be more than %d characters", RepositoryNameTotalLengthMax)
)

// Reference is a name, a tagged name, a name with a digest, or one with both.
type Reference interface{ String() string }

// Named is a reference with a name: the host of a registry, if it says that, and a path.
type Named interface {
	Reference
	Name() string
}

// Tagged is a reference with a tag.
type Tagged interface {
	Reference
	Tag() string
}

// NamedTagged is a name with a tag.
type NamedTagged interface {
	Named
	Tag() string
}

// Digested is a reference with the digest of a manifest.
type Digested interface {
	Reference
	Digest() digest.Digest
}

// Canonical is a name with the digest of a manifest.
type Canonical interface {
	Named
	Digest() digest.Digest
}

// parts is a Named that knows its parts.
type parts interface {
	Named
	Domain() string
	Path() string
}

// name is a Named; the other references have one in them.
type name struct{ domain, path string }

func (n name) Domain() string { return n.domain }
func (n name) Path() string   { return n.path }
func (n name) String() string { return n.Name() }

func (n name) Name() string {
	if n.domain == "" {
		return n.path
	}
	return n.domain + "/" + n.path
}

type withTag struct {
	name
	tag string
}

func (r withTag) Tag() string    { return r.tag }
func (r withTag) String() string { return r.Name() + ":" + r.tag }

type withDigest struct {
	name
	digest digest.Digest
}

func (r withDigest) Digest() digest.Digest { return r.digest }
func (r withDigest) String() string        { return r.Name() + "@" + r.digest.String() }

type withBoth struct {
	name
	tag    string
	digest digest.Digest
}

func (r withBoth) Tag() string           { return r.tag }
func (r withBoth) Digest() digest.Digest { return r.digest }
func (r withBoth) String() string        { return r.Name() + ":" + r.tag + "@" + r.digest.String() }

// join makes the reference that has what is not "".
func join(n name, tag string, d digest.Digest) Named {
	switch {
	case tag != "" && d != "":
		return withBoth{n, tag, d}
	case tag != "":
		return withTag{n, tag}
	case d != "":
		return withDigest{n, d}
	}
	return n
}

// Parse reads a reference as it is written, without what Docker adds to short names.
func Parse(s string) (Reference, error) {
	n, tag, d, ok := split(s)
	if !ok {
		if s == "" {
			return nil, ErrNameEmpty
		}
		if _, _, _, ok := split(strings.ToLower(s)); ok {
			return nil, ErrNameContainsUppercase
		}
		return nil, ErrReferenceInvalidFormat
	}
	if len(n.path) > RepositoryNameTotalLengthMax {
		return nil, ErrNameTooLong
	}
	if d != "" {
		if _, err := digest.Parse(d); err != nil {
			return nil, err
		}
	}
	return join(n, tag, digest.Digest(d)), nil
}

// WithName is Parse for a name without tag and digest.
func WithName(s string) (Named, error) {
	domain, path, ok := splitName(s)
	switch {
	case !ok:
		return nil, ErrReferenceInvalidFormat
	case len(path) > RepositoryNameTotalLengthMax:
		return nil, ErrNameTooLong
	}
	return name{domain, path}, nil
}

// nameOf is the name of a reference, of whichever type that is.
func nameOf(ref Named) name {
	if p, ok := ref.(parts); ok {
		return name{p.Domain(), p.Path()}
	}
	return name{path: ref.Name()}
}

// WithTag gives a name a tag, in the place of one that it has; a digest stays.
func WithTag(ref Named, tag string) (NamedTagged, error) {
	if !isTag(tag) {
		return nil, ErrTagInvalidFormat
	}
	if c, ok := ref.(Canonical); ok {
		return withBoth{nameOf(ref), tag, c.Digest()}, nil
	}
	return withTag{nameOf(ref), tag}, nil
}

// WithDigest gives a name a digest, in the place of one that it has; a tag stays.
func WithDigest(ref Named, d digest.Digest) (Canonical, error) {
	if !isDigest(d.String()) {
		return nil, ErrDigestInvalidFormat
	}
	if t, ok := ref.(Tagged); ok {
		return withBoth{nameOf(ref), t.Tag(), d}, nil
	}
	return withDigest{nameOf(ref), d}, nil
}

// TrimNamed is the name of a reference.
func TrimNamed(ref Named) Named {
	if p, ok := ref.(parts); ok {
		return name{p.Domain(), p.Path()}
	}
	return name{Domain(ref), Path(ref)}
}

// IsNameOnly says that a reference has neither tag nor digest.
func IsNameOnly(ref Named) bool {
	_, tagged := ref.(NamedTagged)
	_, digested := ref.(Canonical)
	return !tagged && !digested
}

// Domain is the host in a name, "" if it has none.
func Domain(ref Named) string {
	if p, ok := ref.(parts); ok {
		return p.Domain()
	}
	if domain, _, ok := splitName(ref.Name()); ok {
		return domain
	}
	return ""
}

// Path is a name without the host.
func Path(ref Named) string {
	if p, ok := ref.(parts); ok {
		return p.Path()
	}
	_, path, ok := splitName(ref.Name())
	if !ok {
		return ref.Name()
	}
	return path
}
