package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/source/address"
)

// ContextSpec is one --build-context: a name, and what the Dockerfile gets where it says it.
type ContextSpec struct {
	Name string // as dockerfile.ContextName gives it
	// Exactly one of these is set.
	Dir    string // a directory
	Image  string // an image's full name, or "scratch"
	Layout *LayoutSpec
	Stage  string          // the name or index of a stage of the same Dockerfile
	Remote *address.Source // a git repository, or a file that a server has
	Other  *Other          // what another build of the same run gives
}

// Other is the result of another build, which goes on beside this one.
type Other struct {
	Name string // of the other build
	// Image waits for the other build and gives its image for a platform. An error fails this build.
	Image func(ctx context.Context, want ocispec.Platform) (digest.Digest, error)
}

// NewOtherContext is a named context that is another build's result.
func NewOtherContext(name string, other *Other) (*ContextSpec, error) {
	key, err := dockerfile.ContextName(name)
	if err != nil {
		return nil, err
	}
	return &ContextSpec{Name: key, Other: other}, nil
}

// LayoutSpec names an image in an OCI layout.
type LayoutSpec struct {
	Dir    string
	Tag    string        // "latest" where neither a tag nor a digest is given
	Digest digest.Digest // "" for the tag's
}

// The prefixes of what is no directory.
const (
	imagePrefix  = "docker-image://"
	layoutPrefix = "oci-layout://"
	stagePrefix  = "target:"
)

// ParseContextSpec reads a --build-context: NAME=VALUE, where VALUE is a directory or has one of buildx's prefixes
// (docs of `docker buildx build`, "--build-context"; target: is that of its bake files).
func ParseContextSpec(text string) (*ContextSpec, error) {
	name, value, ok := strings.Cut(text, "=")
	if !ok || name == "" || value == "" {
		return nil, fmt.Errorf("%s: it takes NAME=DIRECTORY, or after the = one of docker-image://NAME, oci-layout://DIRECTORY, target:STAGE and a URL", text)
	}
	key, err := dockerfile.ContextName(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	s := &ContextSpec{Name: key}
	if err := s.parseValue(value); err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	return s, nil
}

func (s *ContextSpec) parseValue(value string) (err error) {
	if rest, ok := strings.CutPrefix(value, imagePrefix); ok {
		s.Image, err = imageOf(rest)
		return err
	}
	if rest, ok := strings.CutPrefix(value, layoutPrefix); ok {
		s.Layout, err = parseLayout(rest)
		return err
	}
	if rest, ok := strings.CutPrefix(value, stagePrefix); ok {
		if s.Stage = rest; rest == "" {
			return errors.New("target: takes the name of a stage")
		}
		return nil
	}
	if s.Remote, err = address.ParseContext(value); err != nil || s.Remote != nil {
		return err
	}
	switch {
	case value == "-":
		return errors.New("standard input can only be the build's own context; give a directory")
	case strings.Contains(value, "://"):
		scheme, _, _ := strings.Cut(value, "://")
		return fmt.Errorf("%s:// is no kind of context; there are docker-image://, oci-layout://, http://, https://, git:// and ssh://", scheme)
	default:
		s.Dir = value
	}
	return nil
}

func imageOf(name string) (string, error) {
	if name == "scratch" {
		return name, nil
	}
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", fmt.Errorf("the image's name: %w", err)
	}
	return reference.TagNameOnly(ref).String(), nil
}

// parseLayout reads DIRECTORY[:TAG][@DIGEST]. As in buildx, a directory's name has no colon and no @.
func parseLayout(text string) (*LayoutSpec, error) {
	text, dgst, hasDigest := strings.Cut(text, "@")
	dir, tag, hasTag := strings.Cut(text, ":")
	l := &LayoutSpec{Dir: dir, Tag: tag, Digest: digest.Digest(dgst)}
	switch {
	case dir == "":
		return nil, errors.New("the layout's directory is missing")
	case hasTag && tag == "":
		return nil, errors.New("the tag after the colon is missing")
	case hasDigest:
		if err := l.Digest.Validate(); err != nil {
			return nil, fmt.Errorf("the digest %q: %w", dgst, err)
		}
	case !hasTag:
		l.Tag = "latest"
	}
	return l, nil
}

// plannedImage is the image that a plan knows the context as, "" for what is none.
func (s *ContextSpec) plannedImage() string {
	switch {
	case s.Layout != nil:
		return s.Layout.name()
	case s.Other != nil:
		return s.Other.name()
	}
	return s.Image
}

// name is how a plan calls the other build's image. No image of a registry is called so.
func (o *Other) name() string { return stagePrefix + "//" + o.Name }

// check looks whether a directory is there, so that no build runs for minutes before it says that it is not, and
// makes a layout's path absolute, by which the store finds its layers later.
func (s *ContextSpec) check() (err error) {
	dir := s.Dir
	if s.Layout != nil {
		if s.Layout.Dir, err = filepath.Abs(s.Layout.Dir); err != nil {
			return err
		}
		dir = s.Layout.Dir
	}
	if dir == "" {
		return nil
	}
	st, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("%w; give the path of a directory", err)
	}
	if !st.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	return nil
}

// name is how a plan calls the layout's image.
func (l *LayoutSpec) name() string {
	name := layoutPrefix + l.Dir
	if l.Tag != "" {
		name += ":" + l.Tag
	}
	if l.Digest != "" {
		name += "@" + l.Digest.String()
	}
	return name
}
