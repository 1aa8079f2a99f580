// Package inventory answers what images are here: listing them with Docker's filters, describing one as docker
// inspect does, and taking names and images away by Docker's rules.
package inventory

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store"
)

// Image is an image, or a step, in the store.
type Image struct {
	ID     digest.Digest
	Parent digest.Digest
	Kind   store.Kind
	Config *image.Config
	Data   []byte // the config as it is stored
	Names  []Name
	// Others are names that mean this image for its platform, and another one where no platform is asked for.
	Others []Name
	Size   int64 // of all layers' files in bytes, -1 if a layer was never here
	Added  time.Time
}

// Name is one of an image's names.
type Name struct {
	Full       string // "docker.io/library/debian:12", or "docker.io/library/debian@sha256:…"
	Repository string // "debian"
	Tag        string // "12", "" for a name by digest
	Digest     digest.Digest
	Set        time.Time
}

// String is the name as people type it.
func (n Name) String() string {
	if n.Tag == "" {
		return n.Repository + "@" + n.Digest.String()
	}
	return n.Repository + ":" + n.Tag
}

// ByDigest is the name with the digest that the image has in its registry, "" where it has none.
func (n Name) ByDigest() string {
	if n.Digest == "" {
		return ""
	}
	return n.Repository + "@" + n.Digest.String()
}

// Load reads a config from the store with all that belongs to it.
func Load(s *store.Store, id digest.Digest) (*Image, error) {
	c, err := s.Config(id)
	if err != nil {
		return nil, err
	}
	names, err := s.Names(id)
	if err != nil {
		return nil, err
	}
	others, err := s.OtherNames(id)
	if err != nil {
		return nil, err
	}
	return newImage(s, c, names, others)
}

func newImage(s *store.Store, c *store.Config, names, others []store.Name) (*Image, error) {
	config, err := image.Parse(c.Data)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", image.ShortID(c.ID), err)
	}
	img := &Image{ID: c.ID, Parent: c.Parent, Kind: c.Kind, Config: config, Data: c.Data, Added: c.Added}
	img.Names, img.Others = newNames(names), newNames(others)
	for _, d := range config.RootFS.DiffIDs {
		l, err := s.Layer(d)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		if err != nil || l.Size < 0 {
			img.Size = -1
			break
		}
		img.Size += l.Size
	}
	return img, nil
}

func newNames(names []store.Name) []Name {
	var all []Name
	for _, n := range names {
		if name, ok := newName(n); ok {
			all = append(all, name)
		}
	}
	return all
}

func newName(n store.Name) (Name, bool) {
	ref, err := reference.ParseNormalizedNamed(n.Name)
	if err != nil {
		return Name{}, false
	}
	name := Name{Full: n.Name, Repository: reference.FamiliarName(ref), Digest: n.Manifest, Set: n.Set}
	if t, ok := ref.(reference.Tagged); ok {
		name.Tag = t.Tag()
	}
	if d, ok := ref.(reference.Digested); ok {
		name.Digest = d.Digest()
	}
	return name, true
}

// List returns the images that the filter lets through, the youngest first. Images without a name on which others
// were built are left out, as are steps, unless all is set.
func List(s *store.Store, all bool, filter *Filter) ([]*Image, error) {
	configs, err := s.Configs(store.Image)
	if err != nil {
		return nil, err
	}
	parents, err := s.Parents()
	if err != nil {
		return nil, err
	}
	if all {
		steps, err := s.Configs(store.Step)
		if err != nil {
			return nil, err
		}
		configs = append(configs, steps...)
	}
	names, err := s.Names("")
	if err != nil {
		return nil, err
	}
	otherNames, err := s.OtherNames("")
	if err != nil {
		return nil, err
	}
	byID, others := namesByID(names), namesByID(otherNames)
	var images []*Image
	for _, c := range configs {
		if !all && len(byID[c.ID])+len(others[c.ID]) == 0 && parents[c.ID] {
			continue
		}
		img, err := newImage(s, c, byID[c.ID], others[c.ID])
		if err != nil {
			return nil, err
		}
		if filter.matches(img, parents[c.ID]) {
			images = append(images, img)
		}
	}
	slices.SortStableFunc(images, func(a, b *Image) int {
		return image.Created(b.Config).Compare(image.Created(a.Config))
	})
	return images, nil
}

func namesByID(names []store.Name) map[digest.Digest][]store.Name {
	byID := map[digest.Digest][]store.Name{}
	for _, n := range names {
		byID[n.ID] = append(byID[n.ID], n)
	}
	return byID
}

// hasLabel tests for "key" or "key=value".
func hasLabel(c *image.Config, test string) bool {
	key, value, valued := strings.Cut(test, "=")
	got, ok := c.Config.Labels[key]
	return ok && (!valued || got == value)
}
