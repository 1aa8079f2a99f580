package inventory

import (
	"cmp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/image/platform"
)

// Tree is what some names mean: an image for each of its platforms.
type Tree struct {
	// Names are those with a tag that mean the same images, sorted; none for an image without a name.
	Names []string
	// Images are the images, that for no platform in particular first, the others by platform.
	Images []*Image
}

// Trees groups images by what their names mean. Those without a name are last.
func Trees(images []*Image) []Tree {
	byName := map[string]*Tree{}
	var all []Tree
	for _, img := range images {
		named := false
		for _, n := range slices.Concat(img.Names, img.Others) {
			if n.Tag == "" {
				continue
			}
			named = true
			t := byName[n.String()]
			if t == nil {
				t = &Tree{Names: []string{n.String()}}
				byName[n.String()] = t
			}
			t.Images = append(t.Images, img)
		}
		if !named {
			all = append(all, Tree{Images: []*Image{img}})
		}
	}
	same := map[string]*Tree{} // by the images' IDs
	for name, t := range byName {
		t.sort(name)
		key := t.key()
		if have := same[key]; have != nil {
			have.Names = append(have.Names, name)
			continue
		}
		same[key] = t
	}
	for _, t := range same {
		slices.Sort(t.Names)
		all = append(all, *t)
	}
	slices.SortFunc(all, func(a, b Tree) int {
		if (len(a.Names) == 0) != (len(b.Names) == 0) {
			return cmp.Compare(len(b.Names), len(a.Names))
		}
		if len(a.Names) == 0 {
			return cmp.Compare(a.Images[0].ID, b.Images[0].ID)
		}
		return cmp.Compare(a.Names[0], b.Names[0])
	})
	return all
}

// sort puts the image first that the name means where no platform is asked for.
func (t *Tree) sort(name string) {
	other := func(img *Image) int {
		if slices.ContainsFunc(img.Names, func(n Name) bool { return n.String() == name }) {
			return 0
		}
		return 1
	}
	slices.SortFunc(t.Images, func(a, b *Image) int {
		return cmp.Or(cmp.Compare(other(a), other(b)), cmp.Compare(a.Platform(), b.Platform()))
	})
}

func (t *Tree) key() string {
	var ids strings.Builder
	for _, img := range t.Images {
		ids.WriteString(string(img.ID))
	}
	return ids.String()
}

// Layers are the layers of all its images, each once.
func (t *Tree) Layers() (all []digest.Digest) {
	seen := map[digest.Digest]bool{}
	for _, img := range t.Images {
		for _, d := range img.Config.RootFS.DiffIDs {
			if !seen[d] {
				seen[d] = true
				all = append(all, d)
			}
		}
	}
	return all
}

// Platform is what the image is for, as people write it: "linux/arm/v7".
func (img *Image) Platform() string { return platform.Format(platform.Normal(img.Config.Platform)) }
