package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer"
	"github.com/strata-build/strata/internal/transfer/archive"
)

// tidy removes the blobs of replaced caches, or with reset all blobs, that the layout's index does not lead to. Where
// it cannot be told what the index leads to, nothing is removed.
func (p *Place) tidy(ctx context.Context, replaced []ocispec.Descriptor) error {
	l, err := archive.OpenLayout(p.dir)
	if err != nil {
		return err
	}
	defer l.Close()
	index, err := l.Index()
	if err != nil {
		return err
	}
	needed := map[digest.Digest]bool{}
	for _, m := range index.Manifests {
		if !reach(l, m, needed) {
			return nil
		}
	}
	old := map[digest.Digest]bool{}
	for _, m := range replaced {
		reach(l, m, old)
	}
	if p.reset {
		if err := p.addAll(old); err != nil {
			return err
		}
	}
	var gone []digest.Digest
	for d := range old {
		if !needed[d] {
			gone = append(gone, d)
		}
	}
	if err := p.save(ctx, gone); err != nil {
		return err
	}
	for _, d := range gone {
		if err := os.Remove(blobPath(p.dir, d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing what the cache in %s had before: %w", p.name, err)
		}
	}
	return nil
}

// reach adds a manifest or index and all that it leads to. It is false where one of them cannot be read.
func reach(l *archive.Layout, desc ocispec.Descriptor, found map[digest.Digest]bool) bool {
	if found[desc.Digest] {
		return true
	}
	found[desc.Digest] = true
	var m struct {
		Config    *ocispec.Descriptor  `json:"config"`
		Layers    []ocispec.Descriptor `json:"layers"`
		Manifests []ocispec.Descriptor `json:"manifests"`
	}
	data, err := l.Read(desc, archive.MaxManifest)
	if err != nil || json.Unmarshal(data, &m) != nil {
		return false
	}
	for _, d := range m.Layers {
		found[d.Digest] = true
	}
	if m.Config != nil {
		found[m.Config.Digest] = true
	}
	return !slices.ContainsFunc(m.Manifests, func(d ocispec.Descriptor) bool { return !reach(l, d, found) })
}

// addAll adds every blob of the layout.
func (p *Place) addAll(found map[digest.Digest]bool) error {
	entries, err := os.ReadDir(filepath.Join(p.dir, ocispec.ImageBlobsDir, string(digest.SHA256)))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if d := digest.NewDigestFromEncoded(digest.SHA256, e.Name()); d.Validate() == nil && e.Type().IsRegular() {
			found[d] = true
		}
	}
	return nil
}

// save brings layers of this machine's images that are nowhere but in blobs that go: a hit moves no layer.
func (p *Place) save(ctx context.Context, gone []digest.Digest) error {
	var ofImages map[digest.Digest]bool
	here := transfer.LayoutLocation(p.dir)
	for _, d := range gone {
		diffID, err := p.mover.Store.DiffIDOf(d)
		if err != nil {
			return err
		}
		if diffID == "" {
			continue
		}
		l, err := p.mover.Store.Layer(diffID)
		if errors.Is(err, store.ErrNotFound) || err == nil && l.Present() {
			continue
		}
		if err != nil {
			return err
		}
		if ofImages == nil {
			if ofImages, err = layersOfImages(p.mover.Store); err != nil {
				return err
			}
		}
		if !ofImages[diffID] {
			continue
		}
		blobs, err := p.mover.Store.Blobs(diffID)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(blobs, func(b store.Blob) bool { return b.Repository != here }) {
			continue
		}
		for _, b := range blobs {
			if b.Digest == d {
				if err := p.mover.Fetch(ctx, here, b.Descriptor(), diffID); err != nil {
					return fmt.Errorf("keeping a layer of an image that is in %s only: %w", p.name, err)
				}
			}
		}
	}
	return nil
}

func layersOfImages(s *store.Store) (map[digest.Digest]bool, error) {
	configs, err := s.Configs(store.Image)
	if err != nil {
		return nil, err
	}
	found := map[digest.Digest]bool{}
	for _, c := range configs {
		chain, err := image.DiffIDs(c.Data)
		if err != nil {
			return nil, err
		}
		for _, d := range chain {
			found[d] = true
		}
	}
	return found, nil
}
