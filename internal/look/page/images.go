package page

import (
	"net/http"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/look/inventory"
)

// imagesView is the list of images.
type imagesView struct {
	Rows    []stored
	Changes bool // they can be removed and named
}

// stored is an image of the store as a line of the list.
type stored struct {
	Names    []string
	ID       string
	Link     string // what it is opened by
	Created  string
	Age      string
	Platform string
	Size     int64 // of all its layers' files, -1 if one was never here
	Shared   int64 // of Size, what other images have too; -1 if it is not known
	Alone    int64 // of Size, what it has alone; -1 if it is not known
	Layers   int
}

// images lists the store's.
func (s *Server) images(*http.Request) (*document, error) {
	st := s.gallery.Mover.Store
	list, err := inventory.List(st, false, nil)
	if err != nil {
		return nil, err
	}
	sharers := map[digest.Digest]int{}
	for _, img := range list {
		for _, d := range img.Config.RootFS.DiffIDs {
			sharers[d]++
		}
	}
	var rows []stored
	for _, img := range list {
		created := image.Created(img.Config)
		x := stored{
			ID: string(img.ID), Link: string(img.ID), Created: date(&created), Age: human.Since(created), Platform: img.Platform(),
			Size: img.Size, Shared: -1, Alone: -1, Layers: len(img.Config.RootFS.DiffIDs),
		}
		for _, n := range img.Names {
			x.Names = append(x.Names, n.String())
		}
		if len(x.Names) > 0 {
			x.Link = x.Names[0]
		}
		if x.Alone, err = inventory.UniqueSize(st, img, sharers); err != nil {
			return nil, err
		}
		if x.Alone >= 0 && x.Size >= 0 {
			x.Shared = x.Size - x.Alone
		}
		rows = append(rows, x)
	}
	return &document{Title: "Images", View: "images", Tab: "images", Data: &imagesView{rows, s.gallery.Changes}}, nil
}
