package cli

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/look/inventory"
	"github.com/strata-build/strata/internal/store"
)

// treeRow is a line of `images --tree`: a name, an image or one of its platforms.
type treeRow struct {
	text  string
	cells [4]string // ID, disk usage, content size, extra; all "" for a name above another one
	space bool      // an empty line follows
}

// printImageTree prints images as `docker images --tree` does: what some names mean, and below it an image for each
// platform. The disk usage is that of the layers here, blobs included; the content size is that of their files.
func (a *app) printImageTree(s *store.Store, images []*inventory.Image) error {
	d, err := s.Disk()
	if err != nil {
		return err
	}
	containers, err := s.Containers()
	if err != nil {
		return err
	}
	used := map[digest.Digest]bool{}
	for _, c := range containers {
		used[c.Image] = true
	}
	onDisk := map[digest.Digest]int64{}
	for _, l := range d.Layers {
		onDisk[l.DiffID] = l.Disk
	}
	var rows []treeRow
	for _, t := range inventory.Trees(images) {
		some, err := treeRows(s, &t, onDisk, used)
		if err != nil {
			return err
		}
		rows = append(rows, some...)
	}
	a.writeTree(rows)
	return nil
}

func treeRows(s *store.Store, t *inventory.Tree, onDisk map[digest.Digest]int64, used map[digest.Digest]bool) (rows []treeRow, err error) {
	top := treeRow{text: "<untagged>"}
	for i, name := range t.Names {
		if top.text = name; i < len(t.Names)-1 {
			rows = append(rows, treeRow{text: name})
		}
	}
	inUse := false
	var children []treeRow
	for i, img := range t.Images {
		one := inventory.Tree{Images: []*inventory.Image{img}}
		branch := "├─ "
		if i == len(t.Images)-1 {
			branch = "└─ "
		}
		cells, err := treeCells(s, &one, onDisk, used[img.ID])
		if err != nil {
			return nil, err
		}
		inUse = inUse || used[img.ID]
		children = append(children, treeRow{text: branch + img.Platform(), cells: cells})
	}
	if top.cells, err = treeCells(s, t, onDisk, inUse); err != nil {
		return nil, err
	}
	children[len(children)-1].space = true
	return append(append(rows, top), children...), nil
}

func treeCells(s *store.Store, t *inventory.Tree, onDisk map[digest.Digest]int64, used bool) (cells [4]string, err error) {
	var disk, content int64
	for _, id := range t.Layers() {
		disk += onDisk[id]
		l, err := s.Layer(id)
		switch {
		case err != nil && !errors.Is(err, store.ErrNotFound):
			return cells, err
		case content < 0:
		case err != nil || l.Size < 0:
			content = -1 // a layer was never here
		default:
			content += l.Size
		}
	}
	cells = [4]string{image.ShortID(t.Images[0].ID), human.Size(disk), human.Size(content), ""}
	if used {
		cells[3] = "U"
	}
	return cells, nil
}

// writeTree prints rows with aligned columns: sizes to the right.
func (a *app) writeTree(rows []treeRow) {
	width := len("IMAGE")
	for _, r := range rows {
		width = max(width, utf8.RuneCountInString(r.text))
	}
	out := a.texts()
	line := func(text string, cells [4]string) {
		fmt.Fprintln(out, strings.TrimRight(fmt.Sprintf("%-*s   %-12s   %10s   %12s   %s", width, text, cells[0], cells[1], cells[2], cells[3]), " "))
	}
	line("IMAGE", [4]string{"ID", "DISK USAGE", "CONTENT SIZE", "EXTRA"})
	for i, r := range rows {
		line(r.text, r.cells)
		if r.space && i < len(rows)-1 {
			fmt.Fprintln(out)
		}
	}
}
