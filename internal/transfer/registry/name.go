package registry

import (
	"errors"
	"fmt"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// ParseName parses an image name by Docker's rules: "me/app:test" is docker.io/me/app:test, "debian" is
// docker.io/library/debian. A missing tag stays missing (see reference.TagNameOnly). The error says what is
// wrong with the name and what is allowed.
func ParseName(s string) (reference.Named, error) {
	if s == "" {
		return nil, errors.New("image name is empty: give it as [HOST[:PORT]/]NAME[:TAG][@DIGEST]")
	}
	named, err := reference.ParseNormalizedNamed(s)
	if err == nil {
		return named, nil
	}
	return nil, fmt.Errorf("%q is not an image name: invalid reference format: %s", s, nameProblem(s, err))
}

// ParseNewName parses a name that is given to an image: as ParseName, with a tag in any case, without a digest.
func ParseNewName(s string) (reference.Named, error) {
	ref, err := ParseName(s)
	if err != nil {
		return nil, err
	}
	if _, ok := ref.(reference.Digested); ok {
		return nil, fmt.Errorf("%s: a name that is given to an image cannot have a digest", s)
	}
	if reference.FamiliarName(ref) == string(digest.Canonical) {
		return nil, fmt.Errorf("%s: a name that begins like a digest would be ambiguous; take another", s)
	}
	return reference.TagNameOnly(ref), nil
}

// nameProblem says what the reference grammar (github.com/distribution/reference) minds in s.
func nameProblem(s string, err error) string {
	switch {
	case strings.Contains(s, "://"):
		return "leave out the scheme, as in HOST/NAME:TAG"
	case errors.Is(err, reference.ErrNameTooLong):
		return "the name may have at most 255 characters"
	case isHex64(s):
		return "64 hexadecimal digits are an image ID"
	case strings.ContainsAny(s, " \t\r\n"):
		return "it contains white space"
	}
	name, digest, hasDigest := strings.Cut(s, "@")
	if hasDigest && !strings.HasPrefix(digest, "sha256:") {
		return "after the @ there must be a digest, sha256: and 64 hexadecimal digits"
	}
	if hasDigest && !isHex64(strings.TrimPrefix(digest, "sha256:")) {
		return "the digest must have 64 lower case hexadecimal digits after sha256:"
	}
	name, tag, hasTag := cutTag(name)
	if hasTag && !validTag(tag) {
		return fmt.Sprintf("the tag after the colon, %q, must have 1 to 128 letters, digits, underscores, full stops or hyphens, and may not start with a full stop or hyphen", tag)
	}
	if path := name[strings.IndexByte(name, '/')+1:]; strings.ToLower(path) != path {
		return "repository name must be lowercase"
	}
	return "a name's parts between slashes are lower case letters and digits, separated by one full stop, one or two underscores, or hyphens"
}

// cutTag splits a name at the colon that a person means to stand before the tag: the first one that stands before no
// port of a host.
func cutTag(text string) (name, tag string, found bool) {
	start := 0
	if host, _, isPath := strings.Cut(text, "/"); isPath {
		i := strings.LastIndexByte(host, ':')
		if strings.HasPrefix(host, "[") || i > 0 && i+1 < len(host) && strings.Trim(host[i+1:], "0123456789") == "" {
			start = len(host)
		}
	}
	name, tag, found = strings.Cut(text[start:], ":")
	return text[:start] + name, tag, found && name != ""
}

func isHex64(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}

// validTag follows the grammar [\w][\w.-]{0,127}.
func validTag(s string) bool {
	if s == "" || len(s) > 128 || s[0] == '.' || s[0] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return true
}
