package inventory

import (
	"errors"
	"fmt"
	"testing"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store"
)

// Several people build the same image, each under a name of their own, look at it, and remove it: a name
// is there until its owner takes it away, whatever the others remove meanwhile.
func TestNamesOfOneImage(t *testing.T) {
	root := t.TempDir()
	command := func(f func(*store.Store) error) error {
		s, err := store.Open(root)
		if err != nil {
			return err
		}
		return errors.Join(f(s), s.Close())
	}
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	var g errgroup.Group
	for person := range 3 {
		g.Go(func() error {
			for i := range rounds {
				name := fmt.Sprintf("person%d:%d", person, i)
				for _, step := range []func(*store.Store) error{
					func(s *store.Store) error { return build(s, name) },
					func(s *store.Store) error { return look(s, name) },
					func(s *store.Store) error { _, err := Remove(s, name, false); return err },
				} {
					if err := command(step); err != nil {
						return fmt.Errorf("%s: %w", name, err)
					}
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

// build makes the image as a build does at its end.
func build(s *store.Store, name string) error {
	if err := s.Begin(); err != nil {
		return err
	}
	data, err := image.Encode(&image.Config{})
	if err != nil {
		return err
	}
	step, err := s.PutConfig(data, "", store.Step)
	if err != nil {
		return err
	}
	c, err := s.Config(step)
	if err != nil {
		return err
	}
	id, err := s.PutConfig(c.Data, c.Parent, store.Image)
	if err != nil {
		return err
	}
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return err
	}
	return s.SetImages(ref, []digest.Digest{id}, "")
}

// look finds the image by its name, as an image.
func look(s *store.Store, name string) error {
	id, err := s.Resolve(name)
	if err != nil {
		return err
	}
	c, err := s.Config(id)
	if err == nil && c.Kind != store.Image {
		err = fmt.Errorf("it is of the kind %s", c.Kind)
	}
	return err
}
