package export

import (
	"context"
	"fmt"

	"github.com/distribution/reference"

	"github.com/strata-build/strata/internal/store"
)

// store is type=image, and type=docker without a file: the image in the store, under its names, and pushed if it is to be.
func (x *exporter) store(ctx context.Context, s *Spec, out Output) error {
	if err := x.checkImages(); err != nil {
		return err
	}
	names := x.namesOf(s)
	if err := x.keep(s, names, out); err != nil {
		return err
	}
	x.result.Image = true
	if !s.Push {
		return nil
	}
	for _, ref := range names {
		if _, err := x.Push(ctx, ref); err != nil {
			return err
		}
	}
	return nil
}

// namesOf are the names that an output gives the image: those of --tag, as with buildx, or else its own.
func (x *exporter) namesOf(s *Spec) []reference.Named {
	if len(x.o.Tags) > 0 {
		return x.o.Tags
	}
	var names []reference.Named
	for _, ref := range s.Names {
		names = append(names, reference.TagNameOnly(ref))
	}
	return names
}

// keep makes the result an image of the store.
func (x *exporter) keep(s *Spec, names []reference.Named, out Output) error {
	img := x.images[0]
	c, err := x.Store.Config(img.ID)
	if err == nil {
		_, err = x.Store.PutConfig(c.Data, c.Parent, store.Image)
	}
	if err != nil {
		return fmt.Errorf("keeping the image: %w", err)
	}
	out.Item("writing image "+img.ID.String(), 0, 0, "done")
	for _, ref := range names {
		if _, err := x.Store.SetName(ref, img.ID, ""); err != nil {
			return fmt.Errorf("naming the image: %w", err)
		}
		out.Item("naming to "+ref.String(), 0, 0, "done")
		x.result.Names = append(x.result.Names, ref)
	}
	return nil
}
