package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// Pushed is what a push left in the registry.
type Pushed struct {
	Digest digest.Digest // of the manifest
	Size   int           // of the manifest, in bytes
}

// Push sends the image that ref names in the store to ref's registry, or those for several platforms with an index of
// them; want limits it to that for one platform. What the registry has is not sent, and
// of layers that are not on this machine only those that it has not are fetched, and passed on.
//
// Events tell of layers by their diffID, as docker push shows them.
func (m *Mover) Push(ctx context.Context, ref reference.Named, want *ocispec.Platform) (*Pushed, error) {
	if err := m.Store.Begin(); err != nil {
		return nil, err
	}
	members, err := m.Store.IndexMembers(ref, want)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("no image here has the name %s; build it with -t, or see strata images and strata tag", reference.FamiliarString(ref))
	}
	if err != nil {
		return nil, err
	}
	b, err := m.bundleOf(members)
	if err != nil {
		return nil, err
	}
	sent, err := m.PushBundle(ctx, ref, b)
	if err != nil {
		return nil, err
	}
	pushed := &Pushed{sent.Descriptor.Digest, int(sent.Descriptor.Size)}
	if want != nil {
		return pushed, nil // the name goes on meaning all
	}
	var ids []digest.Digest
	for _, member := range members {
		ids = append(ids, member.ID)
	}
	// The name may have been set or removed since.
	return pushed, m.Store.SetManifest(ref, ids, pushed.Digest)
}

// bundleOf are images as they go out together, with what is attested of them, in the order of their platforms where
// there are several.
func (m *Mover) bundleOf(members []store.Member) (Bundle, error) {
	b := Bundle{Index: len(members) > 1}
	for _, member := range members {
		attestations, err := Attestations(m.Store, member.ID)
		if err != nil {
			return b, err
		}
		b.Items = append(b.Items, Item{ID: member.ID, Platform: member.Platform, Attestations: attestations})
	}
	slices.SortFunc(b.Items, func(x, y Item) int {
		return strings.Compare(platform.Format(x.Platform), platform.Format(y.Platform))
	})
	return b, nil
}

// push is layers on their way to a registry, with a config and a manifest about them.
type push struct {
	*Mover
	ref    reference.Named // nil for what goes to no registry
	want   Packing
	layers []*store.Layer
	known  [][]store.Blob // of each layer, its compressed forms, here or elsewhere
	gone   map[digest.Digest]bool
	cause  error // why the last of them cannot be had
	// byDigest pushes the manifest without the name's tag.
	byDigest bool

	aheads aheads
}

// imagePush is a push of an image.
type imagePush struct {
	*push
	id     digest.Digest
	config []byte
}

// parcel is what a push sends: a blob of each layer, the config, and the manifest. Layers that go before their image
// have no config and no manifest.
type parcel struct {
	blobs            []store.Blob
	config, manifest registry.Blob
}

func (m *Mover) newPush(ref reference.Named, diffIDs []digest.Digest) (*push, error) {
	p := &push{Mover: m, ref: ref, gone: map[digest.Digest]bool{}}
	var err error
	if p.layers, err = m.Store.Chain(diffIDs); err != nil {
		return nil, err
	}
	for _, d := range diffIDs {
		blobs, err := m.Store.Blobs(d)
		if err != nil {
			return nil, err
		}
		p.known = append(p.known, blobs)
	}
	return p, nil
}

// send sends what plan says. Where the registry got other bytes than a digest promises, the store's blobs are looked at
// again, once.
func (p *push) send(ctx context.Context, plan func(context.Context) (*parcel, error)) (registry.Blob, []store.Blob, error) {
	p.aheads.ctx = ctx
	defer func() { p.aheads.drop(ctx) }()
	for doubted := false; ; {
		parcel, err := plan(ctx)
		if err != nil {
			return registry.Blob{}, nil, err
		}
		to := p.ref
		if p.byDigest {
			if to, err = reference.WithDigest(reference.TrimNamed(p.ref), parcel.manifest.Digest); err != nil {
				return registry.Blob{}, nil, err
			}
		}
		uploads, err := p.uploads(ctx, parcel)
		if err != nil {
			return registry.Blob{}, nil, err
		}
		if parcel.manifest.Digest == "" {
			err = p.pusher().PushBlobs(ctx, to, uploads, p.progress(parcel.blobs))
		} else {
			_, err = p.pusher().Push(ctx, to, uploads, parcel.manifest, p.progress(parcel.blobs))
		}
		if errors.Is(err, registry.ErrAltered) && ctx.Err() == nil && !doubted {
			for _, b := range parcel.blobs {
				p.Store.Doubt(b.Digest)
			}
			doubted = true
			continue
		}
		// A blob that the registry or another one had when we last heard of it may be gone.
		if gone := (*goneBlobError)(nil); errors.As(err, &gone) && ctx.Err() == nil && !p.gone[gone.blob] {
			p.gone[gone.blob], p.cause = true, gone.cause
			continue
		}
		return parcel.manifest, parcel.blobs, err
	}
}

func (m *Mover) newImagePush(ref reference.Named, id digest.Digest, want Packing) (*imagePush, error) {
	c, err := m.Store.Config(id)
	if err != nil {
		return nil, err
	}
	diffIDs, err := image.DiffIDs(c.Data)
	if err != nil {
		return nil, err
	}
	p, err := m.newPush(ref, diffIDs)
	if err != nil {
		return nil, err
	}
	p.want = want
	return &imagePush{p, id, c.Data}, nil
}

// plan chooses the blob of each layer and the manifest: one that the image has already, so that it keeps its
// digest, or else a new one.
func (p *imagePush) plan(ctx context.Context) (*parcel, error) {
	config := registry.Blob{MediaType: registry.DockerConfig, Digest: p.id, Data: p.config}
	var manifests []store.Manifest
	if p.want.plain() {
		var err error
		if manifests, err = p.ownManifests(); err != nil {
			return nil, err
		}
	}
	for _, m := range manifests {
		if blobs := blobsOf(m, p.id, len(p.layers)); blobs != nil && p.obtainable(blobs) {
			return &parcel{blobs, config, registry.Blob{MediaType: m.MediaType, Digest: m.Digest, Data: m.Data}}, nil
		}
	}
	blobs, err := p.chooseAll(ctx)
	if err != nil {
		return nil, err
	}
	annotations, err := p.annotations(blobs)
	if err != nil {
		return nil, err
	}
	m, err := newManifest(p.config, blobs, annotations, p.want)
	return &parcel{blobs, config, m}, err
}

// chooseAll chooses the blob of each layer.
func (p *push) chooseAll(ctx context.Context) ([]store.Blob, error) {
	blobs := make([]store.Blob, len(p.layers))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(2) // each compresses on all cores; a second one covers the reading
	for i := range p.layers {
		g.Go(func() (err error) {
			blobs[i], err = p.choose(gctx, i)
			return err
		})
	}
	return blobs, g.Wait()
}

// obtainable says whether it is known where each blob is to be had.
func (p *push) obtainable(blobs []store.Blob) bool {
	for i, b := range blobs {
		if p.gone[b.Digest] || !p.Store.HasBlob(b.Digest) && len(p.repositories(p.known[i], b.Digest)) == 0 {
			return false
		}
	}
	return true
}

// The places that a layer's compressed form may be in, the cheapest first.
const (
	inRepository = iota // that we push to
	inRegistry          // in another of its repositories, from where it can be mounted
	inStore
	atOtherPlace
	unavailable
)

// choose takes the form of a layer that costs least to bring to the registry. One that is not even in the store
// is made, unless the layer itself is not here.
func (p *push) choose(ctx context.Context, i int) (store.Blob, error) {
	l, f := p.layers[i], p.want.form(i)
	if f.compression == layer.None {
		return uncompressed(ctx, l)
	}
	made, err := p.madeAtLevels(l)
	if err != nil {
		return store.Blob{}, err
	}
	best, where, rank := store.Blob{}, unavailable, 0
	for _, b := range p.known[i] {
		r := rankOf(b)
		if w := p.place(b); w < unavailable && !p.gone[b.Digest] && f.fits(b, made) && (where == unavailable || r < rank || r == rank && w < where) {
			best, where, rank = b, w, r
		}
	}
	if where < atOtherPlace {
		return best, nil
	}
	some := func(b store.Blob) bool { return p.place(b) < unavailable && !p.gone[b.Digest] }
	if l.Present() || where == unavailable && slices.ContainsFunc(p.known[i], some) {
		return p.compressAhead(ctx, l, f)
	}
	if where == unavailable {
		return best, fmt.Errorf("layer %s is neither on this machine nor at its source%s; pull its image again", l.DiffID, because(p.cause))
	}
	return best, nil
}

// compressAhead compresses a layer, and begins to send it meanwhile.
func (p *push) compressAhead(ctx context.Context, l *store.Layer, f form) (store.Blob, error) {
	var ahead *registry.Ahead
	b, err := p.compress(ctx, l, f, func(size int64, g *store.Growing) { ahead = p.aheads.begin(p, size, g) })
	if err == nil {
		p.aheads.made(b.Digest, ahead)
	}
	return b, err
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return fmt.Sprintf(" (%v)", err)
}

func (p *push) place(b store.Blob) int {
	from, err := p.repository(b.Repository)
	switch {
	case p.ref != nil && b.Repository != "" && err == nil && from.Name() == p.ref.Name():
		return inRepository
	case p.ref != nil && b.Repository != "" && err == nil && reference.Domain(from) == reference.Domain(p.ref):
		return inRegistry
	case p.Store.HasBlob(b.Digest) && b.MediaType != ocispec.MediaTypeImageLayer:
		return inStore
	case b.Repository != "":
		return atOtherPlace
	}
	return unavailable
}

// repositories are those that are known to have a blob.
func (m *Mover) repositories(known []store.Blob, d digest.Digest) []reference.Named {
	var refs []reference.Named
	for _, b := range known {
		if b.Digest != d || b.Repository == "" {
			continue
		}
		if ref, err := m.repository(b.Repository); err == nil {
			refs = append(refs, ref)
		}
	}
	return refs
}

// uploads are the blobs to push: the config, if there is one, and each layer's.
func (p *push) uploads(ctx context.Context, parcel *parcel) ([]registry.Upload, error) {
	var uploads []registry.Upload
	if config := parcel.config; config.Digest != "" {
		expect, err := p.expectConfig(config.Digest)
		if err != nil {
			return nil, err
		}
		uploads = append(uploads, registry.Upload{
			Desc:   config.Descriptor(),
			Open:   func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(config.Data)), nil },
			Expect: expect,
		})
	}
	for i, b := range parcel.blobs {
		uploads = append(uploads, registry.Upload{
			Desc:      b.Descriptor(),
			Open:      func() (io.ReadCloser, error) { return p.openLayer(ctx, i, b) },
			MountFrom: p.repositories(p.known[i], b.Digest),
			Expect:    p.expect(i, b.Digest, b.Size),
			Ahead:     p.aheads.of(b.Digest),
		})
	}
	return uploads, nil
}

// goneBlobError is a blob that cannot be had any more where it was.
type goneBlobError struct {
	blob  digest.Digest
	cause error
}

func (e *goneBlobError) Error() string { return fmt.Sprintf("blob %s: %v", e.blob, e.cause) }
func (e *goneBlobError) Unwrap() error { return e.cause }

// openLayer reads a form of the layer at index i.
func (p *push) openLayer(ctx context.Context, i int, b store.Blob) (io.ReadCloser, error) {
	if l := p.layers[i]; b.Digest == l.DiffID && l.Present() {
		r, w := io.Pipe()
		go func() { w.CloseWithError(l.WriteTar(ctx, w)) }()
		return r, nil
	}
	return p.open(ctx, b, p.known[i])
}

// open reads a blob: from the store, or straight from where it is known to be.
func (m *Mover) open(ctx context.Context, b store.Blob, known []store.Blob) (io.ReadCloser, error) {
	here, err := m.Store.Usable(ctx, b.Digest)
	if err != nil {
		return nil, err
	}
	if here {
		return m.Store.OpenBlob(b.Digest)
	}
	err = errors.New("it is not here")
	for _, k := range known {
		if k.Digest != b.Digest || k.Repository == "" {
			continue
		}
		var r io.ReadCloser
		if r, err = m.openAt(ctx, k); err == nil {
			return r, nil
		}
	}
	return nil, &goneBlobError{b.Digest, err}
}

// progress passes on what becomes of layers, but not of the config.
func (p *push) progress(blobs []store.Blob) registry.PushProgress {
	layers := map[digest.Digest]digest.Digest{}
	for i, b := range blobs {
		layers[b.Digest] = p.layers[i].DiffID
	}
	return func(desc ocispec.Descriptor, status string, current, total int64) {
		if diffID, ok := layers[desc.Digest]; ok {
			p.report(diffID, status, current, total)
		}
	}
}

// note remembers what the registry has now.
func (p *imagePush) note(manifest registry.Blob, blobs []store.Blob) error {
	if err := p.noteBlobs(blobs, p.id); err != nil {
		return err
	}
	if !p.want.plain() {
		return nil // made for this once: the next push makes what it is asked for
	}
	return p.keepManifest(manifest)
}

// packedAs is how the store remembers the manifest that an image was packed with to be kept.
const packedAs = "manifest"

// ownManifests are those that the image has, the one first that it was packed with.
func (p *imagePush) ownManifests() ([]store.Manifest, error) {
	all, err := p.Store.ManifestsOf(p.id)
	if err != nil || len(all) < 2 {
		return all, err
	}
	packed, err := p.Store.Derived(p.id, packedAs)
	if errors.Is(err, store.ErrNotFound) {
		return all, nil
	}
	slices.SortStableFunc(all, func(a, b store.Manifest) int {
		switch packed.Digest {
		case a.Digest:
			return -1
		case b.Digest:
			return 1
		}
		return 0
	})
	return all, err
}

// keepManifest makes a manifest the image's, which pushes and archives take that want no particular one.
func (p *imagePush) keepManifest(m registry.Blob) error {
	return p.Store.PutManifest(store.Manifest{Digest: m.Digest, MediaType: m.MediaType, ID: p.id, Data: m.Data})
}

// noteBlobs remembers that the repository has the blobs of the layers, and a config with them; "" is none.
func (p *push) noteBlobs(blobs []store.Blob, config digest.Digest) error {
	diffIDs, there := make([]digest.Digest, len(blobs)), slices.Clone(blobs)
	for i := range there {
		diffIDs[i], there[i].Repository = p.layers[i].DiffID, p.ref.Name()
	}
	if err := p.Store.AddRemotes(diffIDs, there); err != nil || config == "" {
		return err
	}
	return p.noteConfig(diffIDs, p.ref, config)
}
