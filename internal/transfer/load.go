package transfer

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer/archive"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// Loaded is an image that an archive had, or the first of those for several platforms that share their names.
type Loaded struct {
	ID    digest.Digest
	Names []reference.Named // that it has now; often none
}

// Load takes in the images of an archive, under the IDs and names that they have in it. Events tell of layers
// by their diffID.
func (m *Mover) Load(ctx context.Context, r *archive.Reader) ([]Loaded, error) {
	return m.LoadOnly(ctx, r, nil)
}

// LoadOnly is Load of the images for a platform; nil takes in all. An archive that has none is an error.
func (m *Mover) LoadOnly(ctx context.Context, r *archive.Reader, only *ocispec.Platform) ([]Loaded, error) {
	if err := m.Store.Begin(); err != nil {
		return nil, err
	}
	images, err := m.readImages(r.Images())
	if err != nil {
		return nil, err
	}
	if only != nil {
		images = slices.DeleteFunc(images, func(a archived) bool { return !platform.Suits(a.config.Platform, *only) })
		if len(images) == 0 {
			return nil, fmt.Errorf("it has no image for %s: %w", platform.Format(*only), registry.ErrPlatform)
		}
	}
	for _, img := range images {
		for _, l := range img.Layers {
			if err := m.loadLayer(ctx, l); err != nil {
				return nil, err
			}
		}
	}
	all := make([]Loaded, len(images))
	for i, img := range images {
		if all[i].ID, err = m.loadImage(img); err != nil {
			return nil, err
		}
	}
	taken := map[int]bool{} // images with a name that says another first
	for _, n := range m.namesOf(images) {
		var ids []digest.Digest
		for _, i := range n.images {
			ids = append(ids, all[i].ID)
			taken[i] = true
		}
		if err := m.Store.SetImages(n.ref, ids, ""); err != nil {
			return nil, err
		}
		all[n.images[0]].Names = append(all[n.images[0]].Names, n.ref)
	}
	var told []Loaded
	for i, l := range all {
		if len(l.Names) > 0 || !taken[i] {
			told = append(told, l)
		}
	}
	return told, nil
}

// archived is an image of an archive, read.
type archived struct {
	archive.Image
	config *image.Config
	names  []reference.Named
}

// readImages reads configs and names.
func (m *Mover) readImages(images []archive.Image) ([]archived, error) {
	var all []archived
	for _, img := range images {
		c, err := image.Parse(img.Config)
		if err != nil {
			return nil, err
		}
		a := archived{Image: img, config: c}
		for _, n := range img.Names {
			ref, err := registry.ParseName(n)
			if err != nil {
				return nil, fmt.Errorf("it has an image name that is not valid: %w", err)
			}
			a.names = append(a.names, reference.TagNameOnly(ref))
		}
		all = append(all, a)
	}
	return all, nil
}

// loadImage takes in an image whose layers are here.
func (m *Mover) loadImage(a archived) (digest.Digest, error) {
	id, err := m.Store.PutConfig(a.Config, "", store.Image)
	if err != nil || a.Manifest == nil {
		return id, err
	}
	return id, m.Store.PutManifest(store.Manifest{Digest: a.Manifest.Digest, MediaType: a.Manifest.MediaType, ID: id, Data: a.Manifest.Data})
}

// shared is a name with the images that an archive has for it: for several platforms, or one.
type shared struct {
	ref    reference.Named
	images []int // of the archive's; the one that suits this machine best first
}

// namesOf gathers the images of each name. Of two for the same platform the later one counts.
func (m *Mover) namesOf(images []archived) []shared {
	var all []shared
	for i, img := range images {
		for _, ref := range img.names {
			at := slices.IndexFunc(all, func(n shared) bool { return n.ref.String() == ref.String() })
			if at < 0 {
				at = len(all)
				all = append(all, shared{ref: ref})
			}
			all[at].images = slices.DeleteFunc(all[at].images, func(j int) bool {
				return platform.Same(images[j].config.Platform, img.config.Platform)
			})
			all[at].images = append(all[at].images, i)
		}
	}
	for _, n := range all {
		slices.SortStableFunc(n.images, func(a, b int) int {
			return platform.Rank(images[b].config.Platform, m.Platform) - platform.Rank(images[a].config.Platform, m.Platform)
		})
	}
	return all
}

// loadLayer keeps the bytes that the archive has, compressed or not: the layer's exact tar can be had from them
// only.
func (m *Mover) loadLayer(ctx context.Context, l archive.Layer) error {
	known, err := m.Store.Layer(l.DiffID)
	if err == nil && known.Present() {
		return nil
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	f, err := l.Open()
	if err != nil {
		return fmt.Errorf("reading layer %s: %w", l.DiffID, err)
	}
	defer f.Close()
	r := bufio.NewReaderSize(&meter{r: f, report: func(n int64) { m.report(l.DiffID, "Loading layer", n, l.Desc.Size) }}, 1<<18)
	head, err := r.Peek(layer.DetectLen)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading layer %s: %w", l.DiffID, err)
	}
	switch layer.Detect(head) {
	case layer.None:
		_, err = m.Store.AddTar(ctx, l.DiffID, r)
	case layer.Gzip:
		err = m.loadBlob(ctx, l.DiffID, ocispec.MediaTypeImageLayerGzip, r)
	case layer.Zstd:
		err = m.loadBlob(ctx, l.DiffID, ocispec.MediaTypeImageLayerZstd, r)
	default: // no manifest can say how it is compressed
		var z io.ReadCloser
		if z, err = layer.Decompress(r, m.Store.Limits()); err == nil {
			_, err = m.Store.AddTar(ctx, l.DiffID, z)
			z.Close()
		}
	}
	return err
}

// loadBlob takes in a compressed layer.
func (m *Mover) loadBlob(ctx context.Context, diffID digest.Digest, mediaType string, r io.Reader) error {
	dir, err := m.Store.Temp("load")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "blob")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("storing layer %s: %w", diffID, m.Store.Explain(err))
	}
	defer f.Close()
	hash := sha256.New()
	size, err := io.CopyBuffer(io.MultiWriter(f, hash), struct{ io.Reader }{r}, make([]byte, 1<<20))
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return fmt.Errorf("storing layer %s: %w", diffID, m.Store.Explain(err))
	}
	if err := m.Store.Unpack(ctx, diffID, f); err != nil {
		return err
	}
	return m.Store.PlaceBlob(path, diffID, store.Blob{Digest: digest.NewDigest(digest.SHA256, hash), Size: size, MediaType: mediaType})
}
