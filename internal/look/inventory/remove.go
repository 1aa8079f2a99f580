package inventory

import (
	"errors"
	"fmt"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/look/history"
	"github.com/strata-build/strata/internal/store"
)

// Removed is what Remove did.
type Removed struct {
	Untagged []string        // names, short
	Deleted  []digest.Digest // the image, then the steps and layers that only it needed
	// InUse says that another process may be using the image: it goes with the next prune.
	InUse bool
}

// Remove takes away what a person means by text. A name is taken from its image, which goes with its last one. An
// image that is meant by its ID goes with all its names, if they are in one repository or force is set. Images and
// steps that others were made from stay as steps on the way to those.
func Remove(s *store.Store, text string, force bool) (*Removed, error) {
	c, err := history.Find(s, text)
	if err != nil {
		return nil, err
	}
	img, err := Load(s, c.ID)
	if err != nil {
		return nil, err
	}
	if name, ok := img.namedBy(text); ok {
		return removeName(s, img, name)
	}
	made, err := s.Children(img.ID)
	if err != nil {
		return nil, err
	}
	if err := img.mayGo(text, made, force); err != nil {
		return nil, err
	}
	return remove(s, img, len(made) > 0)
}

// namedBy finds the name that text is.
func (img *Image) namedBy(text string) (Name, bool) {
	ref, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		return Name{}, false
	}
	full := reference.TagNameOnly(ref).String()
	for _, n := range img.Names {
		if n.Full == full {
			return n, true
		}
	}
	return Name{}, false
}

// removeName takes a name from its image, and from those for other platforms, which go if they have no other.
func removeName(s *store.Store, img *Image, name Name) (*Removed, error) {
	ref, err := reference.ParseNormalizedNamed(name.Full)
	if err != nil {
		return nil, err
	}
	members, err := s.Members(ref)
	if err != nil {
		return nil, err
	}
	r, err := removeFrom(s, img, name)
	if err != nil {
		return nil, err
	}
	for _, m := range members[1:] {
		if held, err := s.IsNamed(m.ID); held || err != nil {
			continue // its other name keeps it, or the next prune looks again
		}
		p, err := s.RemoveImage(m.ID)
		if err != nil {
			return nil, err
		}
		r.Deleted = append(append(append(r.Deleted, p.Images...), p.Steps...), p.Layers...)
	}
	return r, nil
}

func removeFrom(s *store.Store, img *Image, name Name) (*Removed, error) {
	others := 0 // names by digest do not hold an image (Docker 20.10, daemon/images/image_delete.go)
	for _, n := range img.Names {
		if n.Tag != "" && n.Full != name.Full {
			others++
		}
	}
	made, err := s.Children(img.ID)
	if err != nil {
		return nil, err
	}
	if others == 0 {
		return remove(s, img, len(made) > 0)
	}
	ref, err := reference.ParseNormalizedNamed(name.Full)
	if err != nil {
		return nil, err
	}
	if err := s.RemoveName(ref); err != nil {
		return nil, err
	}
	return &Removed{Untagged: []string{name.String()}}, nil
}

// mayGo says why an image cannot be removed by its ID.
func (img *Image) mayGo(text string, made []digest.Digest, force bool) error {
	repositories := map[string]bool{}
	for _, n := range img.Names {
		repositories[n.Repository] = true
	}
	switch {
	case len(made) > 0 && img.Kind == store.Step:
		return fmt.Errorf("step %s is a step of image %s; remove the image, which removes its steps too", text, image.ShortID(made[0]))
	case len(made) > 0 && len(img.Names) == 0:
		return fmt.Errorf("image %s is the base of images or steps, such as %s; remove these first", text, image.ShortID(made[0]))
	case len(repositories) > 1 && !force:
		var names []string
		for _, n := range img.Names {
			names = append(names, n.String())
		}
		return fmt.Errorf("image %s has several names, %s; remove it by these, or all of them with -f", text, strings.Join(names, ", "))
	}
	return nil
}

func remove(s *store.Store, img *Image, hasChildren bool) (*Removed, error) {
	p, err := s.RemoveImage(img.ID)
	if err != nil {
		return nil, err
	}
	r := &Removed{}
	for _, n := range img.Names {
		r.Untagged = append(r.Untagged, n.String())
		if d := n.ByDigest(); d != "" && n.Tag != "" {
			r.Untagged = append(r.Untagged, d)
		}
	}
	r.Deleted = append(append(append(r.Deleted, p.Images...), p.Steps...), p.Layers...)
	if _, err := s.Config(img.ID); err == nil {
		r.InUse = !hasChildren
	} else if !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	return r, nil
}
