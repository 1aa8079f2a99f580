package export

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/image/platform"
)

// Annotation is a line of text that goes with an image, beside its config (OCI image spec, annotations.md).
type Annotation struct {
	Place      Place
	Platform   string // "linux/arm64"; "" for all
	Key, Value string
}

// Place is what an annotation is part of.
type Place string

// The places of annotations.
const (
	OnManifest           Place = "manifest"
	OnManifestDescriptor Place = "manifest-descriptor" // where an index or a layout names the manifest
	OnIndex              Place = "index"
	OnIndexDescriptor    Place = "index-descriptor"
)

var (
	// [TYPE[PLATFORM]:]KEY=VALUE, several types with commas (docker/buildx, util/buildflags).
	annotationType = regexp.MustCompile(`^([a-z-]+)(?:\[([A-Za-z0-9_/-]+)\])?$`)
	// annotation[-TYPE][[PLATFORM]].KEY, the attribute of an output (moby/buildkit, exporter/containerimage/exptypes).
	annotationAttribute = regexp.MustCompile(`^annotation(?:-([a-z-]+))?(?:\[([A-Za-z0-9_/-]+)\])?\.(\S+)$`)
)

// ParseAnnotation reads an --annotation. It is several where it names several places.
func ParseAnnotation(text string) ([]Annotation, error) {
	name, value, ok := strings.Cut(text, "=")
	if !ok {
		return nil, fmt.Errorf("%q: it takes KEY=VALUE, or TYPE:KEY=VALUE", text)
	}
	types, key, ok := strings.Cut(name, ":")
	if !ok {
		types, key = string(OnManifest), name
	}
	if key == "" {
		return nil, fmt.Errorf("%q: there is no key before the =", text)
	}
	var all []Annotation
	for one := range strings.SplitSeq(types, ",") {
		m := annotationType.FindStringSubmatch(one)
		if m == nil {
			return nil, fmt.Errorf("%q: %q is not a type with, if need be, a platform in brackets: manifest[linux/amd64]", text, one)
		}
		a := Annotation{Place(m[1]), m[2], key, value}
		if err := a.check(); err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
		all = append(all, a)
	}
	return all, nil
}

// readAnnotation reads an attribute of an output; false if it is none for an annotation.
func readAnnotation(a attribute) (Annotation, bool, error) {
	m := annotationAttribute.FindStringSubmatch(a.name)
	if m == nil {
		return Annotation{}, false, nil
	}
	found := Annotation{Place(m[1]), m[2], m[3], a.value}
	if found.Place == "" {
		found.Place = OnManifest
	}
	return found, true, found.check()
}

func (a *Annotation) check() error {
	switch a.Place {
	case OnManifest, OnManifestDescriptor, OnIndex, OnIndexDescriptor:
		return nil
	}
	return fmt.Errorf("%s is not a type of annotations; it is manifest, manifest-descriptor, index or index-descriptor", a.Place)
}

// annotations are those of one output.
type annotations []Annotation

// at are those of a place for a platform; nil if there is none.
func (as annotations) at(place Place, p *ocispec.Platform) map[string]string {
	var found map[string]string
	for _, a := range as {
		if a.Place != place || p != nil && a.Platform != "" && a.Platform != platform.Format(*p) {
			continue
		}
		if found == nil {
			found = map[string]string{}
		}
		found[a.Key] = a.Value
	}
	return found
}

// onIndex says that some are of an index, so that there has to be one: an image for one platform gets it too, as with
// buildx, whose attestations make one.
func (as annotations) onIndex() bool {
	return slices.ContainsFunc(as, func(a Annotation) bool { return a.Place == OnIndex || a.Place == OnIndexDescriptor })
}

// checkPlaces says whether the images have what is to be annotated.
func (as annotations) checkPlaces(images []Image) error {
	for _, a := range as {
		there := a.Platform == ""
		for _, img := range images {
			there = there || a.Platform == platform.Format(img.Platform)
		}
		if !there {
			return fmt.Errorf("the annotation %s is for the platform %s, for which nothing was built; see --platform", a.Key, a.Platform)
		}
	}
	return nil
}
