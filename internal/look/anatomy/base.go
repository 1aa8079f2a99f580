package anatomy

import (
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store"
)

// findBases notes with each row the names of the images in the store that end with it: an image is the base of another if
// all its layers and all its rows are the other's first.
func (im *Image) findBases(s *store.Store) error {
	names, err := s.Names("")
	if err != nil {
		return err
	}
	byID := map[digest.Digest][]string{}
	for _, n := range names {
		if ref, err := reference.ParseNormalizedNamed(n.Name); err == nil && !strings.Contains(n.Name, "@") {
			byID[n.ID] = append(byID[n.ID], reference.FamiliarString(ref))
		}
	}
	for id, names := range byID {
		c, err := s.Config(id)
		if err != nil {
			continue // removed meanwhile: an image that is no more is nobody's base
		}
		base, err := image.Parse(c.Data)
		if err != nil {
			continue
		}
		if at := im.endOf(base); at >= 0 {
			slices.Sort(names)
			im.Rows[at].Base = append(im.Rows[at].Base, names...)
		}
	}
	for i := range im.Rows {
		slices.Sort(im.Rows[i].Base)
	}
	return nil
}

// endOf is the index of the row with which another image ends, -1 if it is no base of this one.
func (im *Image) endOf(base *image.Config) int {
	layers, own := base.RootFS.DiffIDs, im.Config.RootFS.DiffIDs
	if len(layers) == 0 || len(layers) > len(own) || !slices.Equal(layers, own[:len(layers)]) || len(base.History) > len(im.Config.History) {
		return -1
	}
	for i, h := range base.History {
		mine := im.Config.History[i]
		if h.CreatedBy != mine.CreatedBy || h.EmptyLayer != mine.EmptyLayer || h.Comment != mine.Comment {
			return -1
		}
	}
	// Layers without a row come first, as package history lays them out.
	return len(im.Rows) - len(im.Config.History) + len(base.History) - 1
}
