// Package transfer moves images between the store and registries, archives and plain tars.
package transfer

import (
	"context"
	"errors"
	"fmt"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// parallelLayers is how many layers are fetched at once, as Docker's max-concurrent-downloads.
const parallelLayers = 3

// Mover moves images. It is the Fetcher of its Store: of the layers that are not on this machine. It does not change
// once it is in use.
type Mover struct {
	Store    *store.Store
	Registry *registry.Client
	Platform ocispec.Platform
	// Events, if not nil, gets a Layer event for all that is fetched, pushed or loaded.
	Events event.Sink
	// Parts says by whose word parts of layers are read that are not on this machine.
	Parts Parts

	sources []BlobSource
	pushes  *registry.Client // instead of Registry, for what is pushed; nil where that does as well
}

// New returns a mover for a store. Its Store fetches layers that are not on this machine through the mover itself: from
// registries, OCI layouts, and the locations that sources open.
func New(s *store.Store, client *registry.Client, p ocispec.Platform, sources ...BlobSource) *Mover {
	m := &Mover{Registry: client, Platform: p, sources: sources}
	m.Store = s.WithFetcher(m)
	return m
}

// With is the Mover with other listeners; nil is none. Layers that its Store lacks are told of to them, too.
func (m *Mover) With(events event.Sink) *Mover {
	c := &Mover{Registry: m.Registry, Platform: m.Platform, Events: events, Parts: m.Parts, sources: m.sources, pushes: m.pushes}
	c.Store = m.Store.WithFetcher(c)
	return c
}

// WithStore is the Mover for a view of its store.
func (m *Mover) WithStore(s *store.Store) *Mover {
	c := *m
	c.Store = s.WithFetcher(&c)
	return &c
}

// WithInsecurePush is the Mover whose pushes may go to a host ("host" or "host:port") by plain HTTP, or whatever its
// certificate is. What it fetches may not.
func (m *Mover) WithInsecurePush(host string) *Mover {
	c := *m
	c.pushes = m.pusher().WithInsecure(host)
	return &c
}

// pusher is the client of pushes.
func (m *Mover) pusher() *registry.Client {
	if m.pushes != nil {
		return m.pushes
	}
	return m.Registry
}

func (m *Mover) report(id digest.Digest, status string, current, total int64) {
	event.OrDiscard(m.Events).Send(event.Layer{ID: id, Status: status, Current: current, Total: total})
}

// found is what a name means in its registry. The store knows where its layers can be had.
type found struct {
	*registry.Image
	config *image.Config // as Config.Data has it
}

// resolve finds out what a name means in its registry, for a platform where that tells. No layer
// moves, and the store gets no new image.
func (m *Mover) resolve(ctx context.Context, ref reference.Named, want ocispec.Platform) (*found, error) {
	img, err := m.Registry.Resolve(ctx, ref, want)
	if err != nil {
		return nil, err
	}
	return m.locate(ref, img)
}

// locate notes where the layers of an image can be had.
func (m *Mover) locate(ref reference.Named, img *registry.Image) (*found, error) {
	c, err := image.Parse(img.Config.Data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", reference.FamiliarString(ref), err)
	}
	if len(c.RootFS.DiffIDs) != len(img.Layers) {
		return nil, fmt.Errorf("%s: its manifest has %d layers and its config %d; the image is damaged or no container image",
			reference.FamiliarString(ref), len(img.Layers), len(c.RootFS.DiffIDs))
	}
	blobs := make([]store.Blob, len(img.Layers))
	for i, desc := range img.Layers {
		blobs[i] = store.Blob{Digest: desc.Digest, Size: desc.Size, MediaType: desc.MediaType, Repository: ref.Name()}
	}
	if err := m.Store.AddRemotes(c.RootFS.DiffIDs, blobs); err != nil {
		return nil, err
	}
	return &found{img, c}, m.noteConfig(c.RootFS.DiffIDs, ref, img.Config.Digest)
}

// keep makes what was found for a platform an image of the store, under the name by which it was found. The name keeps
// its images for other platforms; replace takes those away that were found as another index.
func (m *Mover) keep(ref reference.Named, img *found, want ocispec.Platform, replace bool) (id digest.Digest, err error) {
	if id, err = m.Store.PutConfig(img.Config.Data, "", store.Image); err != nil {
		return "", err
	}
	if err := m.Store.PutManifest(store.Manifest{Digest: img.Manifest.Digest, MediaType: img.Manifest.MediaType, ID: id, Data: img.Manifest.Data}); err != nil {
		return "", err
	}
	if img.Index != nil {
		if err := m.Store.PutManifest(store.Manifest{Digest: img.Index.Digest, MediaType: img.Index.MediaType, Data: img.Index.Data}); err != nil {
			return "", err
		}
	}
	if d, ok := ref.(reference.Digested); ok {
		// Of name:tag@digest only the digest says what was found.
		if ref, err = reference.WithDigest(reference.TrimNamed(ref), d.Digest()); err != nil {
			return "", err
		}
	}
	return id, m.Store.AddImage(ref, id, img.digest(), platform.Same(want, m.Platform), replace)
}

// digest is the one by which a name can be pulled again: the index's, or the manifest's.
func (f *found) digest() digest.Digest {
	if f.Index != nil {
		return f.Index.Digest
	}
	return f.Manifest.Digest
}

// Peek finds the image that a name has in its registry, for somebody who only looks at it: it gets
// no name here, no layer moves, and the next prune takes what was kept of it.
func (m *Mover) Peek(ctx context.Context, name string) (*store.Config, error) {
	ref, err := registry.ParseName(name)
	if err != nil {
		return nil, err
	}
	img, err := m.resolve(ctx, reference.TagNameOnly(ref), m.Platform)
	if err != nil {
		return nil, err
	}
	id, err := m.Store.PutConfig(img.Config.Data, "", store.Step)
	if err != nil {
		return nil, err
	}
	return m.Store.Config(id)
}

// Wanted is how an image is to be that Base or Pull looks for.
type Wanted struct {
	Platform ocispec.Platform
	// Sole takes an image whose registry has it for another platform alone, without an index, as BuildKit's FROM does.
	Sole bool
	// Pull has Base ask the registry though the image is in the store.
	Pull bool
}

// Base finds an image for somebody who uses it: one in the store, else what its registry has. No layer moves: whoever
// needs one fetches it then.
func (m *Mover) Base(ctx context.Context, name string, w Wanted) (*store.Config, error) {
	want := w.Platform
	var other *store.PlatformError
	if !w.Pull {
		id, err := m.Store.ResolveFor(name, want)
		if err == nil {
			if err := m.Store.Touch(id); err != nil {
				return nil, err
			}
			c, err := m.Store.Config(id)
			if err != nil {
				return nil, err
			}
			return c, m.NoteParts(name, c)
		}
		if !errors.Is(err, store.ErrNotFound) && (!errors.As(err, &other) || other.ID != "") {
			return nil, err
		}
	}
	img, ref, err := m.find(ctx, name, w)
	if err != nil && other != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("%w; and its registry does not give one: %w", other, err)
	}
	if err != nil {
		return nil, err
	}
	id, err := m.keep(ref, img, want, false)
	if err != nil {
		return nil, err
	}
	m.noteLayers(img.config.RootFS.DiffIDs, img.Layers, speaker{img.Annotations, img.Manifest.Digest, ref.Name()})
	return m.Store.Config(id)
}

// find finds out what the name of an image means in its registry.
func (m *Mover) find(ctx context.Context, name string, w Wanted) (*found, reference.Named, error) {
	ref, err := registry.ParseName(name)
	if err != nil {
		return nil, nil, err
	}
	ref = reference.TagNameOnly(ref)
	img, err := m.wanted(ctx, ref, w)
	return img, ref, err
}

// wanted is resolve for an image that has to be as it is wanted.
func (m *Mover) wanted(ctx context.Context, ref reference.Named, w Wanted) (*found, error) {
	img, err := m.resolve(ctx, ref, w.Platform)
	if err != nil || w.Sole && img.Index == nil {
		return img, err
	}
	if err := img.suits(ref, w.Platform); err != nil {
		return nil, err
	}
	return img, nil
}

// suits says why the image cannot be used for a platform.
func (f *found) suits(ref reference.Named, want ocispec.Platform) error {
	if platform.Suits(f.config.Platform, want) {
		return nil
	}
	return fmt.Errorf("%s: %w: it is there for %s only, not for %s", reference.FamiliarString(ref),
		registry.ErrPlatform, platform.Format(f.config.Platform), platform.Format(want))
}
