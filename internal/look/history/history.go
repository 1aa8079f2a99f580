// Package history gives every row of an image's history a state: the steps that were built here have their
// own step IDs, and the rows of images from elsewhere get the config of their moment back, rebuilt from
// what the rows say and from the config that they led to. So each row can be entered, by its ID.
package history

import (
	"errors"
	"fmt"
	"slices"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store"
)

// Row is one row of an image's history.
type Row struct {
	// ID is the step ID of the state after this row. It is never empty but for Listed.
	ID digest.Digest
	// Known says that the state was recorded by a build here, or is the image itself, and not rebuilt.
	Known bool
	// Docker says that docker would print the ID rather than <missing>: the classic engine's builds left it.
	Docker bool
	// Names are the names of the image that has this state, short as people type them.
	Names   []string
	History image.History
	// DiffID is the row's layer, "" for a row that only changes the configuration.
	DiffID digest.Digest
	// Size is the sum of the sizes of the layer's files in bytes: 0 for a row without a layer, -1 while it is not
	// known because the layer was never here.
	Size int64
	// Config is the config whose digest is ID.
	Config []byte
	// Written is the instruction as its Dockerfile had it, with flags and here-documents, where that is known; the row
	// itself has neither. It is filled in by whoever knows the records of steps.
	Written string

	implied bool // there is a layer, but no row in the config
}

// maxRebuilt bounds what the configs of all rows of one image may take together in bytes. 127 layers with
// twice as many other rows and a config of 64 KiB need 12 MiB. 3,500 rows of 272 KB, which are 480 MB, took 5 seconds
// and 860 MB of memory, and strata log 23 seconds.
const maxRebuilt = 64 << 20

// Rows returns the history of the image or step id, oldest row first. Layers that no row names, as of an
// image without a history, get rows of their own, the oldest ones.
func Rows(s *store.Store, id digest.Digest) ([]Row, error) {
	stored, rows, err := stored(s, id)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	if err := checkRebuilt(id, len(rows), len(stored.Data)); err != nil {
		return nil, err
	}
	return rows, restore(s, stored, rows)
}

// Listed is Rows for a list: where a history is too long for the state of each row, it gives the rows all the same, and no
// ID and no Config but the last one's.
func Listed(s *store.Store, id digest.Digest) ([]Row, error) {
	stored, rows, err := stored(s, id)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	if checkRebuilt(id, len(rows), len(stored.Data)) == nil {
		return rows, restore(s, stored, rows)
	}
	last := &rows[len(rows)-1]
	last.ID, last.Config, last.Known, last.Docker = stored.ID, stored.Data, true, true
	return rows, complete(s, rows)
}

// stored reads a config and makes its rows.
func stored(s *store.Store, id digest.Digest) (*store.Config, []Row, error) {
	config, err := s.Config(id)
	if err != nil {
		return nil, nil, err
	}
	c, err := image.Parse(config.Data)
	if err != nil {
		return nil, nil, fmt.Errorf("image %s: %w", image.ShortID(id), err)
	}
	return config, layOut(c), nil
}

// restore gives each row its state.
func restore(s *store.Store, stored *store.Config, rows []Row) error {
	if err := followParents(s, stored, rows); err != nil {
		return err
	}
	for i := len(rows) - 1; i > 0; i-- {
		if rows[i].ID == "" || rows[i-1].ID != "" {
			continue
		}
		if err := rebuild(rows[:i+1]); err != nil {
			return fmt.Errorf("image %s: %w", image.ShortID(stored.ID), err)
		}
	}
	return complete(s, rows)
}

// RowsOf is Rows of a config that is in no store: all states but the last are rebuilt, and of layers no size is known.
func RowsOf(data []byte) ([]Row, error) {
	c, err := image.Parse(data)
	if err != nil {
		return nil, err
	}
	rows := layOut(c)
	if len(rows) == 0 {
		return nil, nil
	}
	id := digest.FromBytes(data)
	if err := checkRebuilt(id, len(rows), len(data)); err != nil {
		return nil, err
	}
	last := &rows[len(rows)-1]
	last.ID, last.Config = id, data
	for i := range rows {
		if rows[i].DiffID != "" {
			rows[i].Size = -1
		}
	}
	return rows, rebuild(rows)
}

func checkRebuilt(id digest.Digest, rows, size int) error {
	if rows*size/2 > maxRebuilt {
		return fmt.Errorf("image %s: its history has %d rows and its config %d bytes, too much for the state of each row; strata history lists the rows, strata inspect shows the config", image.ShortID(id), rows, size)
	}
	return nil
}

// layOut makes the rows of a config, each with its layer.
func layOut(c *image.Config) []Row {
	rows := make([]Row, 0, len(c.History))
	layers := c.RootFS.DiffIDs
	named := 0
	for _, h := range c.History {
		if !h.EmptyLayer {
			named++
		}
	}
	// Whoever builds on an image without a history adds rows to none: the layers without a row are the oldest.
	for range len(layers) - named {
		rows = append(rows, Row{History: image.History{Created: c.Created}, DiffID: layers[0], implied: true})
		layers = layers[1:]
	}
	for _, h := range c.History {
		row := Row{History: h}
		if !h.EmptyLayer {
			row.DiffID, layers = layers[0], layers[1:]
		}
		rows = append(rows, row)
	}
	return rows
}

// followParents gives the rows the IDs of the steps and images that are on the way to top.
func followParents(s *store.Store, top *store.Config, rows []Row) error {
	last := len(rows) - 1
	rows[last].ID, rows[last].Config, rows[last].Known, rows[last].Docker = top.ID, top.Data, true, true
	docker := last // the row whose ID docker prints, while the chain of its parents goes on
	for seen := map[digest.Digest]bool{top.ID: true}; top.Parent != "" && !seen[top.Parent]; {
		parent, err := s.Config(top.Parent)
		if errors.Is(err, store.ErrNotFound) {
			break
		}
		if err != nil {
			return err
		}
		pc, err := image.Parse(parent.Data)
		if err != nil {
			return fmt.Errorf("step %s: %w", image.ShortID(parent.ID), err)
		}
		at := len(layOut(pc)) - 1
		if at < 0 || at > last || !startsWith(rows, pc) {
			break
		}
		// Docker counts parents, not rows, and BuildKit's images have none.
		if docker > 0 && rows[docker].History.Comment != image.BuildKitComment {
			docker--
		} else {
			docker = -1
		}
		// A parent with as many rows made no row of its own: the later state is the row's.
		if at < last {
			rows[at].ID, rows[at].Config, rows[at].Known = parent.ID, parent.Data, true
			rows[at].Docker = docker == at
			last = at
		} else if docker >= 0 {
			docker++
		}
		seen[parent.ID] = true
		top = parent
	}
	return nil
}

// startsWith says whether the first rows are those of the config.
func startsWith(rows []Row, c *image.Config) bool {
	before := layOut(c)
	return len(before) <= len(rows) && slices.EqualFunc(before, rows[:len(before)], func(a, b Row) bool {
		return a.DiffID == b.DiffID && a.History.CreatedBy == b.History.CreatedBy && a.History.Comment == b.History.Comment
	})
}

// complete adds what the store knows of the layers and the names.
func complete(s *store.Store, rows []Row) error {
	names, err := s.Names("")
	if err != nil {
		return err
	}
	byID := map[digest.Digest][]string{}
	for _, n := range names {
		if ref, err := reference.ParseNormalizedNamed(n.Name); err == nil {
			byID[n.ID] = append(byID[n.ID], reference.FamiliarString(ref))
		}
	}
	for i := range rows {
		rows[i].Names = byID[rows[i].ID]
		if rows[i].DiffID == "" {
			continue
		}
		rows[i].Size = -1
		l, err := s.Layer(rows[i].DiffID)
		switch {
		case err == nil:
			rows[i].Size = l.Size
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
	}
	return nil
}
