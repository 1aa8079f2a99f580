package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer/archive"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// Item is an image that leaves the store.
type Item struct {
	ID digest.Digest
	Packing
	Platform ocispec.Platform
	// Described are the annotations of the manifest's descriptor, in an index or a layout.
	Described map[string]string
	// Attestations go out beside it; then it has OCI's media types, and there is an index.
	Attestations []Attestation
}

// Bundle is what goes out together: an image, or images for several platforms under an index.
type Bundle struct {
	Items []Item
	// Index says that there is one, also of a single image.
	Index       bool
	Annotations map[string]string // the index's
	Described   map[string]string // of the index's descriptor in a layout
	// ByDigest pushes without a tag.
	ByDigest bool
	// Names are those that attestations give the images; none is the name that they are pushed to.
	Names []reference.Named
}

// always is the answer of what has attestations to whether its media types are OCI's, as in BuildKit.
var always = true

// attest sees to it that images have the form that their attestations need.
func (b *Bundle) attest() {
	b.Items = slices.Clone(b.Items)
	for i := range b.Items {
		if len(b.Items[i].Attestations) > 0 {
			b.Index, b.Items[i].Packing.OCI = true, &always
		}
	}
}

// attested are the attestations of the items, whose manifests are in sent.
func (b *Bundle) attested(names []reference.Named, sent *Sent) ([]*attested, error) {
	if len(b.Names) > 0 {
		names = b.Names
	}
	var all []*attested
	for i := range b.Items {
		if len(b.Items[i].Attestations) == 0 {
			continue
		}
		a, err := attest(sent.Manifests[i], &b.Items[i], names)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

// Sent tells what went out.
type Sent struct {
	Descriptor ocispec.Descriptor // of the manifest, or of the index
	Manifests  []digest.Digest    // of each item
}

// PushBundle sends images to ref's registry, and an index of them under the name if there is to be one. No name in the
// store changes.
func (m *Mover) PushBundle(ctx context.Context, ref reference.Named, b Bundle) (*Sent, error) {
	if err := m.Store.Begin(); err != nil {
		return nil, err
	}
	b.attest()
	sent := &Sent{}
	var entries []ocispec.Descriptor
	for _, item := range b.Items {
		p, err := m.newImagePush(ref, item.ID, item.Packing)
		if err != nil {
			return nil, err
		}
		p.byDigest = b.ByDigest || b.Index
		manifest, blobs, err := p.send(ctx, p.plan)
		if err == nil {
			err = p.note(manifest, blobs)
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, item.descriptor(manifest))
		sent.Manifests = append(sent.Manifests, manifest.Digest)
	}
	sent.Descriptor = entries[0]
	if !b.Index {
		return sent, nil
	}
	attested, err := b.attested([]reference.Named{ref}, sent)
	if err != nil {
		return nil, err
	}
	for _, a := range attested {
		to, err := reference.WithDigest(reference.TrimNamed(ref), a.manifest.Digest)
		if err != nil {
			return nil, err
		}
		if _, err := m.pusher().Push(ctx, to, a.uploads(), a.manifest, nil); err != nil {
			return nil, fmt.Errorf("pushing the attestations: %w", err)
		}
		entries = append(entries, a.descriptor())
	}
	index, err := b.index(entries)
	if err != nil {
		return nil, err
	}
	sent.Descriptor = index.Descriptor()
	sent.Descriptor.Annotations = b.Described
	if b.ByDigest {
		if ref, err = reference.WithDigest(reference.TrimNamed(ref), index.Digest); err != nil {
			return nil, err
		}
	}
	if _, err := m.pusher().Push(ctx, ref, nil, index, nil); err != nil {
		return nil, err
	}
	return sent, m.Store.PutManifest(store.Manifest{Digest: index.Digest, MediaType: index.MediaType, Data: index.Data})
}

// descriptor is the item's entry in an index or a layout.
func (i *Item) descriptor(manifest registry.Blob) ocispec.Descriptor {
	desc := manifest.Descriptor()
	desc.Platform, desc.Annotations = &i.Platform, i.Described
	return desc
}

// index makes the index of the items: Docker's list where all manifests are Docker's too, else OCI's.
func (b *Bundle) index(entries []ocispec.Descriptor) (registry.Blob, error) {
	index := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: registry.DockerIndex, Manifests: entries, Annotations: b.Annotations,
	}
	for _, desc := range entries {
		if desc.MediaType != registry.DockerManifest || len(b.Annotations) > 0 || len(desc.Annotations) > 0 {
			index.MediaType = ocispec.MediaTypeImageIndex
		}
	}
	data, err := json.MarshalIndent(index, "", "   ")
	return registry.Blob{MediaType: index.MediaType, Digest: digest.FromBytes(data), Data: data}, err
}

// PackBundle makes manifests and layers of what is to go out, as PushBundle would, and keeps them for whoever pushes or
// saves the images next.
func (m *Mover) PackBundle(ctx context.Context, b Bundle) (*Sent, error) {
	sent, _, _, err := m.pack(ctx, b, true)
	return sent, err
}

// pack makes what an archive needs. The index is nil where there is to be none. keep makes the
// manifests the images' own.
func (m *Mover) pack(ctx context.Context, b Bundle, keep bool) (*Sent, []archive.Source, *registry.Blob, error) {
	if err := m.Store.Begin(); err != nil {
		return nil, nil, nil, err
	}
	b.attest()
	sent := &Sent{}
	var entries []ocispec.Descriptor
	var sources []archive.Source
	for _, item := range b.Items {
		src, manifest, err := m.packImage(ctx, item, keep)
		if err != nil {
			return nil, nil, nil, err
		}
		sources = append(sources, src)
		entries = append(entries, item.descriptor(manifest))
		sent.Manifests = append(sent.Manifests, manifest.Digest)
	}
	sent.Descriptor = entries[0]
	if !b.Index {
		return sent, sources, nil, nil
	}
	attested, err := b.attested(nil, sent)
	if err != nil {
		return nil, nil, nil, err
	}
	for _, a := range attested {
		sources = append(sources, a.source())
		entries = append(entries, a.descriptor())
	}
	index, err := b.index(entries)
	sent.Descriptor = index.Descriptor()
	sent.Descriptor.Annotations = b.Described
	if err == nil {
		err = m.Store.PutManifest(store.Manifest{Digest: index.Digest, MediaType: index.MediaType, Data: index.Data})
	}
	return sent, sources, &index, err
}

func (m *Mover) packImage(ctx context.Context, item Item, keep bool) (archive.Source, registry.Blob, error) {
	p, err := m.newImagePush(nil, item.ID, item.Packing)
	if err != nil {
		return archive.Source{}, registry.Blob{}, err
	}
	parcel, err := p.plan(ctx)
	if err != nil {
		return archive.Source{}, registry.Blob{}, err
	}
	src := archive.Source{Config: p.config, Manifest: &parcel.manifest, Annotations: item.Described}
	for i, b := range parcel.blobs {
		if err := p.bring(ctx, i, b); err != nil {
			return src, parcel.manifest, err
		}
		src.Layers = append(src.Layers, archive.LayerSource{
			DiffID: p.layers[i].DiffID, Desc: b.Descriptor(),
			Open: func() (io.ReadCloser, error) { return p.openLayer(ctx, i, b) },
		})
	}
	if !keep && !p.want.plain() {
		return src, parcel.manifest, nil
	}
	if keep {
		if err := p.Store.PutDerived(p.id, packedAs, store.Derived{Digest: parcel.manifest.Digest}); err != nil {
			return src, parcel.manifest, err
		}
	}
	return src, parcel.manifest, p.keepManifest(parcel.manifest)
}

// bring sees to it that a form of the layer at index i is on this machine.
func (p *push) bring(ctx context.Context, i int, b store.Blob) error {
	if here, err := p.Store.Usable(ctx, b.Digest); here || err != nil || b.Digest == p.layers[i].DiffID {
		return err
	}
	failure := errors.New("no source of it is known; try again, or pull its image")
	for _, k := range p.known[i] {
		if k.Digest != b.Digest || k.Repository == "" {
			continue
		}
		if failure = p.Fetch(ctx, k.Repository, k.Descriptor(), ""); failure == nil {
			return nil
		}
	}
	return fmt.Errorf("layer %s is not on this machine: %w", p.layers[i].DiffID, failure)
}

// SaveBundle writes images as one archive, under the names.
func (m *Mover) SaveBundle(ctx context.Context, w io.Writer, format Format, b Bundle, names []string) (*Sent, error) {
	if format == DockerArchive && len(b.Items) == 1 {
		b.Items = []Item{b.Items[0]}
		b.Items[0].Attestations = nil // docker load has no place for them
	}
	if format == DockerArchive && b.Index {
		return nil, errors.New("docker load takes no image for several platforms; take type=oci, or one platform")
	}
	sent, sources, index, err := m.pack(ctx, b, false)
	switch {
	case err != nil:
	case index != nil:
		err = archive.WriteOCIIndex(w, sources, archive.Index{Blob: *index, Names: names, Annotations: b.Described})
	default:
		sources[0].Names = names
		if format == DockerArchive {
			err = archive.WriteDocker(w, sources)
		} else {
			err = archive.WriteOCI(w, sources)
		}
	}
	return sent, err
}

// SaveIndex writes the images that a name means for several platforms as an OCI archive with an index of them.
func (m *Mover) SaveIndex(ctx context.Context, w io.Writer, ref reference.Named) error {
	members, err := m.Store.IndexMembers(ref, nil)
	if err != nil {
		return err
	}
	b, err := m.bundleOf(members)
	if err != nil {
		return err
	}
	b.Names = []reference.Named{ref}
	_, err = m.SaveBundle(ctx, w, OCIArchive, b, []string{reference.FamiliarString(ref)})
	return err
}

// SaveDirectory writes images into a directory as an OCI layout, beside what the layout has already.
func (m *Mover) SaveDirectory(ctx context.Context, dir string, b Bundle, names []string) (*Sent, error) {
	sent, sources, index, err := m.pack(ctx, b, false)
	if err != nil {
		return nil, err
	}
	if index != nil {
		return sent, archive.WriteDirectory(dir, sources, &archive.Index{Blob: *index, Names: names, Annotations: b.Described})
	}
	sources[0].Names = names
	return sent, archive.WriteDirectory(dir, sources, nil)
}
