package inventory

import (
	"errors"
	"fmt"
	"slices"
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
	return retry(text, func() (*Removed, error) {
		r, err := removal(s, text, force)
		if err != nil {
			return nil, err
		}
		return r.do(s)
	})
}

// ErrOther says that a text means another image than the one that is to go.
var ErrOther = errors.New("it is another image by now")

// RemoveShown is Remove, without force, where text means an image that a person was shown; else the error is ErrOther.
func RemoveShown(s *store.Store, text string, shown digest.Digest) (*Removed, error) {
	return retry(text, func() (*Removed, error) {
		r, err := removal(s, text, false)
		if err != nil {
			return nil, err
		}
		if r.Image.ID != shown {
			return nil, fmt.Errorf("%s: %w", text, ErrOther)
		}
		return r.do(s)
	})
}

// Removal is what Remove would do.
type Removal struct {
	Image *Image
	Name  *Name // the only one that goes, nil for the image with all its names
}

// WouldRemove says what Remove would do, without force, or why it would not.
func WouldRemove(s *store.Store, text string) (*Removal, error) {
	return retry(text, func() (*Removal, error) { return removal(s, text, false) })
}

// retry does again what was decided while the image's names changed.
func retry[T any](text string, once func() (T, error)) (T, error) {
	for range tries {
		r, err := once()
		if !errors.Is(err, store.ErrChanged) {
			return r, err
		}
	}
	var none T
	return none, fmt.Errorf("%s gets and loses names all the time; remove it when nothing builds it", text)
}

// tries is how often a removal is decided anew since the image's names changed meanwhile.
const tries = 100

// removal decides what is to be removed.
func removal(s *store.Store, text string, force bool) (*Removal, error) {
	name, id, err := s.ByName(text)
	if errors.Is(err, store.ErrNotFound) {
		c, err := history.FindID(s, text)
		if err != nil {
			return nil, err
		}
		img, err := Load(s, c.ID)
		if errors.Is(err, store.ErrNotFound) {
			return nil, store.ErrChanged
		}
		if err != nil {
			return nil, err
		}
		return removalOf(s, img, text, force)
	}
	if err != nil {
		return nil, err
	}
	// A name may become another image's at any moment. The image that had it must not go in the place of that one.
	img, err := Load(s, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && !img.has(name) {
		return nil, store.ErrChanged
	}
	if err != nil {
		return nil, err
	}
	if name, ok := img.namedBy(text); ok {
		if err := img.usedBy(s, text, force || len(img.Names) > 1); err != nil {
			return nil, err
		}
		return &Removal{Image: img, Name: &name}, nil
	}
	return removalOf(s, img, text, force) // named by its digest
}

// removalOf decides about what is meant by an ID or a digest.
func removalOf(s *store.Store, img *Image, text string, force bool) (*Removal, error) {
	made, err := s.Children(img.ID)
	if err != nil {
		return nil, err
	}
	if err := img.mayGo(text, made, force); err != nil {
		return nil, err
	}
	if err := img.usedBy(s, text, force); err != nil {
		return nil, err
	}
	return &Removal{Image: img}, nil
}

// do removes it. The error is store.ErrChanged where the image's names are others by now.
func (r *Removal) do(s *store.Store) (*Removed, error) {
	img := r.Image
	if r.Name != nil {
		return removeName(s, img, *r.Name)
	}
	var names []string
	for _, n := range img.Names {
		names = append(names, n.Full)
	}
	p, err := s.RemoveImage(img.ID, names)
	if err != nil {
		return nil, err
	}
	return removed(s, img, p)
}

// usedBy says which container needs an image that is to go, unless that counts for nothing.
func (img *Image) usedBy(s *store.Store, text string, force bool) error {
	if force {
		return nil
	}
	all, err := s.Containers()
	if err != nil {
		return err
	}
	for _, c := range all {
		if c.Image == img.ID {
			return fmt.Errorf("image %s is that of the container %s; remove that first, by strata rm %[2]s, or take the name away with -f", text, c.Name)
		}
	}
	return nil
}

// has says whether one of the image's names is this one, as it stands in the store.
func (img *Image) has(full string) bool {
	return slices.ContainsFunc(img.Names, func(n Name) bool { return n.Full == full })
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
	p, err := s.RemoveName(ref)
	if err != nil {
		return nil, err
	}
	if named, err := s.Names(img.ID); err != nil {
		return nil, err
	} else if len(named) > 0 {
		r := &Removed{Untagged: []string{name.String()}} // its other names keep it
		r.addDeleted(p)
		return r, nil
	}
	return removed(s, img, p)
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

// removed tells what became of an image that lost its names.
func removed(s *store.Store, img *Image, p *store.Pruned) (*Removed, error) {
	r := &Removed{}
	for _, n := range img.Names {
		r.Untagged = append(r.Untagged, n.String())
		if d := n.ByDigest(); d != "" && n.Tag != "" {
			r.Untagged = append(r.Untagged, d)
		}
	}
	r.addDeleted(p)
	if _, err := s.Config(img.ID); errors.Is(err, store.ErrNotFound) {
		return r, nil
	} else if err != nil {
		return nil, err
	}
	made, err := s.Children(img.ID)
	r.InUse = len(made) == 0
	return r, err
}

func (r *Removed) addDeleted(p *store.Pruned) {
	r.Deleted = append(append(append(r.Deleted, p.Images...), p.Steps...), p.Layers...)
}
