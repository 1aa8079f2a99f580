package anatomy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/look/history"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer"
)

// Transports that may stand before a name, as skopeo and dive write them, with or without "//" behind the colon.
const (
	dockerArchive = "docker-archive:"
	ociArchive    = "oci-archive:"
	ociLayout     = "oci:"
	remote        = "docker://"
)

// Open finds the image, step or row that a person means:
//
//   - docker-archive:FILE[:NAME], oci-archive:FILE[:NAME] and oci:DIRECTORY[:NAME], or a path that begins with "/" or ".";
//   - docker://NAME, an image in a registry, whatever is here;
//   - the name of an image here, the ID of an image, a step, a history row or a layer, or the beginning of one;
//   - else the name of an image in a registry, of which manifest and config are fetched.
//
// The caller closes the image.
func Open(ctx context.Context, m *transfer.Mover, text string) (*Image, error) {
	switch {
	case isPath(text), strings.HasPrefix(text, dockerArchive), strings.HasPrefix(text, ociArchive), strings.HasPrefix(text, ociLayout):
		im, err := openArchive(m.Store, text)
		if err != nil {
			return nil, err
		}
		return im, im.keepRows(m.Store)
	case strings.HasPrefix(text, remote):
		return openRemote(ctx, m, text, strings.TrimPrefix(text, remote))
	}
	c, err := history.Find(m.Store, text)
	var unknown *history.NotFoundError
	if errors.As(err, &unknown) {
		c, err = findLayer(m.Store, text)
		if err == nil && c == nil && isHex(text) {
			err = unknown // what looks like an ID is no name: no registry is asked for it
		}
		if err == nil && c == nil {
			im, err := openRemote(ctx, m, text, text)
			if err != nil {
				return nil, fmt.Errorf("no image %s here, and not in its registry: %w%s", text, err, asPath(text))
			}
			return im, nil
		}
	}
	if err != nil {
		return nil, err
	}
	return ofStore(m.Store, text, c)
}

// openRemote opens the image that a name has in its registry.
func openRemote(ctx context.Context, m *transfer.Mover, text, name string) (*Image, error) {
	c, err := m.Peek(ctx, name)
	if err != nil {
		return nil, err
	}
	im, err := ofStore(m.Store, text, c)
	if err != nil {
		return nil, err
	}
	return im, im.keepRows(m.Store)
}

// keepRows makes the rows of an image that is elsewhere known to the store, as steps that the next prune takes: a
// person who has seen their IDs may name one.
func (im *Image) keepRows(s *store.Store) error {
	for _, r := range im.Rows {
		if r.Known {
			continue
		}
		if _, err := s.PutConfig(r.Config, "", store.Step); err != nil {
			return err
		}
	}
	return nil
}

// asPath says how to name a file, where there is one that is called like the image that there is not.
func asPath(text string) string {
	if _, err := os.Stat(text); err != nil {
		return ""
	}
	return fmt.Sprintf("; for the file or directory of that name here, write ./%s", text)
}

func isPath(text string) bool {
	return strings.HasPrefix(text, "/") || strings.HasPrefix(text, "./") || strings.HasPrefix(text, "../")
}

func isHex(text string) bool {
	text = strings.TrimPrefix(text, "sha256:")
	return len(text) >= 4 && strings.Trim(text, "0123456789abcdef") == ""
}

// findLayer finds the state that a layer's ID leads to, in the history of any image here; nil if there is none. Where
// several images have the layer, the state of the one that was added last is taken: the layer is the same.
func findLayer(s *store.Store, text string) (*store.Config, error) {
	if !isHex(text) {
		return nil, nil
	}
	prefix := strings.TrimPrefix(text, "sha256:")
	images, err := s.Configs(store.Image)
	if err != nil {
		return nil, err
	}
	var found *history.Row
	layers := map[digest.Digest]bool{}
	for _, c := range images {
		rows, err := history.Rows(s, c.ID)
		if err != nil {
			continue // another image's history need not be readable for this one to be found
		}
		for i, row := range rows {
			if row.DiffID == "" || !strings.HasPrefix(row.DiffID.Encoded(), prefix) {
				continue
			}
			if layers[row.DiffID] = true; found == nil {
				found = &rows[i]
			}
		}
	}
	if len(layers) > 1 {
		return nil, fmt.Errorf("%s is the beginning of the IDs of %d layers: give more of it", text, len(layers))
	}
	if found == nil {
		return nil, nil
	}
	return &store.Config{ID: found.ID, Data: found.Config}, nil
}

// ofStore takes an image apart whose config the store has.
func ofStore(s *store.Store, text string, c *store.Config) (*Image, error) {
	parsed, err := image.Parse(c.Data)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", image.ShortID(c.ID), err)
	}
	rows, err := history.Rows(s, c.ID)
	if errors.Is(err, store.ErrNotFound) {
		rows, err = history.RowsOf(c.Data) // a row whose state was never stored
	}
	if err != nil {
		return nil, err
	}
	im := &Image{Text: text, ID: c.ID, Config: parsed}
	for _, d := range parsed.RootFS.DiffIDs {
		p, err := newStored(s, d)
		if err != nil {
			return nil, err
		}
		im.layers = append(im.layers, p)
	}
	return im, im.setRows(s, rows)
}

// setRows takes the rows over, and finds the images that end with one.
func (im *Image) setRows(s *store.Store, rows []history.Row) error {
	layers := 0
	for _, r := range rows {
		row := Row{Row: r, Layer: -1}
		if r.DiffID != "" {
			row.Layer = layers
			layers++
		}
		im.Rows = append(im.Rows, row)
	}
	return im.findBases(s)
}

// exists says whether a path is there.
func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
