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

// A name goes from one image to another and back while others remove it: what it meant a moment ago keeps its own name.
func TestNameThatMoves(t *testing.T) {
	s := openStore(t)
	moving, err := reference.ParseNormalizedNamed("moving:1")
	if err != nil {
		t.Fatal(err)
	}
	ids := []digest.Digest{put(t, s, 1, "", store.Image, "mine:1"), put(t, s, 2, "", store.Image, "mine:2")}
	rounds := 2000
	if testing.Short() {
		rounds = 200
	}
	var g errgroup.Group
	g.Go(func() error {
		for i := range rounds {
			if err := s.SetImages(moving, ids[i%2:i%2+1], ""); err != nil {
				return err
			}
		}
		return nil
	})
	g.Go(func() error {
		for range rounds {
			if _, err := Remove(s, "moving:1", false); err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"mine:1", "mine:2"} {
		if err := look(s, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
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

// What a person was shown is removed, and nothing else that has its name by now.
func TestRemoveShown(t *testing.T) {
	s := openStore(t)
	if err := build(s, "app:1"); err != nil {
		t.Fatal(err)
	}
	if _, err := RemoveShown(s, "app:1", digest.FromString("another image")); !errors.Is(err, ErrOther) {
		t.Errorf("the error is %v", err)
	}
	r, err := WouldRemove(s, "app:1")
	if err != nil || r.Name == nil {
		t.Fatalf("%+v, %v", r, err)
	}
	if gone, err := RemoveShown(s, "app:1", r.Image.ID); err != nil || len(gone.Untagged) != 1 {
		t.Errorf("%+v, %v", gone, err)
	}
}
