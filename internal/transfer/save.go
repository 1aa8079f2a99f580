package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer/archive"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// Format is the kind of archive that Save writes.
type Format string

// Docker's archives are OCI layouts too, as Docker has written them since 25.
const (
	DockerArchive Format = "docker"
	OCIArchive    Format = "oci"
)

// Saved is an image to save.
type Saved struct {
	ID    digest.Digest
	Names []string // that it gets in the archive
}

// Save writes images as one archive.
func (m *Mover) Save(ctx context.Context, w io.Writer, format Format, images []Saved) error {
	if err := m.Store.BeginReading(); err != nil {
		return err
	}
	var sources []archive.Source
	for _, img := range images {
		src, err := m.source(ctx, img, format)
		if err != nil {
			return err
		}
		sources = append(sources, src)
	}
	if format == OCIArchive {
		return archive.WriteOCI(w, sources)
	}
	return archive.WriteDocker(w, sources)
}

// source is an image as it is saved: with the manifest that it has and the blobs of that, or with what there is.
func (m *Mover) source(ctx context.Context, img Saved, format Format) (archive.Source, error) {
	c, err := m.Store.Config(img.ID)
	if err != nil {
		return archive.Source{}, err
	}
	diffIDs, err := image.DiffIDs(c.Data)
	if err != nil {
		return archive.Source{}, err
	}
	layers, err := m.Store.Chain(diffIDs)
	if err != nil {
		return archive.Source{}, err
	}
	src := archive.Source{Names: img.Names, Config: c.Data}
	for _, l := range layers {
		s, err := m.layerSource(ctx, l)
		if err != nil {
			return archive.Source{}, err
		}
		src.Layers = append(src.Layers, m.metered(s))
	}
	return src, m.keepManifest(ctx, &src, img.ID, format)
}

// metered is the source of a layer whose bytes are told of as they are read.
func (m *Mover) metered(s archive.LayerSource) archive.LayerSource {
	open, total := s.Open, s.Size
	if s.Desc.Digest != "" {
		total = s.Desc.Size
	}
	s.Open = func() (io.ReadCloser, error) {
		r, err := open()
		if err != nil {
			return nil, err
		}
		report := func(n int64) { m.report(s.DiffID, "Saving layer", n, total) }
		return &savedLayer{meter: meter{r: r, report: report}, Closer: r, mover: m, id: s.DiffID}, nil
	}
	return s
}

// savedLayer is a layer that is being saved.
type savedLayer struct {
	meter
	io.Closer
	mover *Mover
	id    digest.Digest
}

func (l *savedLayer) Close() error {
	l.mover.report(l.id, "Saved layer", 0, 0)
	return l.Closer.Close()
}

// keepManifest makes the archive have the image's own manifest, and so its digest, if all that it names is here.
func (m *Mover) keepManifest(ctx context.Context, src *archive.Source, id digest.Digest, format Format) error {
	manifests, err := m.Store.ManifestsOf(id)
	if err != nil {
		return err
	}
	for _, own := range manifests {
		blobs := blobsOf(own, id, len(src.Layers))
		if blobs == nil || format == OCIArchive && own.MediaType != ocispec.MediaTypeImageManifest {
			continue
		}
		layers, all := make([]archive.LayerSource, len(blobs)), true
		for i, b := range blobs {
			here, err := m.Store.Usable(ctx, b.Digest)
			if err != nil {
				return err
			}
			all = all && here
			layers[i] = m.blobSource(src.Layers[i].DiffID, b.Descriptor())
		}
		if all {
			src.Layers, src.Manifest = layers, &registry.Blob{MediaType: own.MediaType, Digest: own.Digest, Data: own.Data}
			return nil
		}
	}
	return nil
}

// layerSource is a layer's compressed form if there is one here or, for a layer that is not here, elsewhere;
// else its tar.
func (m *Mover) layerSource(ctx context.Context, l *store.Layer) (archive.LayerSource, error) {
	known, err := m.Store.Blobs(l.DiffID)
	if err != nil {
		return archive.LayerSource{}, err
	}
	for _, b := range known {
		here, err := m.Store.Usable(ctx, b.Digest)
		if err != nil {
			return archive.LayerSource{}, err
		}
		if here {
			return m.blobSource(l.DiffID, ociDescriptor(b)), nil
		}
	}
	if !l.Present() {
		b, err := m.fetchAny(ctx, l, known)
		return m.blobSource(l.DiffID, ociDescriptor(b)), err
	}
	size, err := l.TarSize(ctx)
	if err != nil {
		return archive.LayerSource{}, err
	}
	open := func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() { w.CloseWithError(l.WriteTar(ctx, w)) }()
		return r, nil
	}
	return archive.LayerSource{DiffID: l.DiffID, Size: size, Open: open}, nil
}

func (m *Mover) blobSource(diffID digest.Digest, desc ocispec.Descriptor) archive.LayerSource {
	return archive.LayerSource{DiffID: diffID, Desc: desc, Open: func() (io.ReadCloser, error) { return m.Store.OpenBlob(desc.Digest) }}
}

// ociDescriptor is a blob as OCI's manifests name it, which are what archives get.
func ociDescriptor(b store.Blob) ocispec.Descriptor {
	desc := b.Descriptor()
	desc.MediaType = ociLayer(desc.MediaType)
	return desc
}

// fetchAny brings a form of a layer that is not here from wherever it is.
func (m *Mover) fetchAny(ctx context.Context, l *store.Layer, known []store.Blob) (store.Blob, error) {
	failure := errors.New("no source of it is known; pull its image again")
	for _, b := range known {
		if b.Repository == "" {
			continue
		}
		if failure = m.Fetch(ctx, b.Repository, b.Descriptor(), ""); failure == nil {
			return b, nil
		}
	}
	return store.Blob{}, fmt.Errorf("layer %s is not on this machine: %w", l.DiffID, failure)
}

// Export writes the merged tree of an image's, or step's, layers as one tar.
func (m *Mover) Export(ctx context.Context, w io.Writer, c *store.Config) error {
	if err := m.Store.BeginReading(); err != nil {
		return err
	}
	diffIDs, err := image.DiffIDs(c.Data)
	if err != nil {
		return err
	}
	stack, err := m.Store.Stack(diffIDs)
	if err != nil {
		return err
	}
	t, err := stack.Flatten(ctx)
	if err != nil {
		return err
	}
	total := t.Size() // of the files, without what a tar has beside them
	report := func(n int64) { m.report(c.ID, "Exporting", min(n, total), total) }
	if err := layer.WriteTar(ctx, &writeMeter{w: w, report: report}, t, stack.Open); err != nil {
		return err
	}
	m.report(c.ID, "Exported", 0, 0)
	return nil
}
