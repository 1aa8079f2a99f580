package export

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// store is type=image, and type=docker without a file: the image in the store, under its names, and pushed if it is
// to be.
func (x *exporter) store(ctx context.Context, s *Spec, out *output) error {
	events := newPushed(out)
	defer events.done()
	m := x.With(events)
	p, err := x.pack(ctx, m, s)
	if err != nil {
		return err
	}
	names := x.namesOf(s)
	var manifest digest.Digest
	if s.Push {
		if manifest, err = x.push(ctx, m, s, p, names, out); err != nil {
			return err
		}
	} else if s.wantsManifest() || len(x.o.Annotations) > 0 {
		sent, err := m.PackBundle(ctx, p.bundle)
		if err != nil {
			return err
		}
		manifest = sent.Descriptor.Digest
		x.result.describe(sent, p)
	}
	x.result.image(p)
	if s.NotStored {
		return nil
	}
	if err := x.keep(p, out); err != nil {
		return err
	}
	if err := x.name(s, p, names, manifest, out); err != nil {
		return err
	}
	if s.Unpack {
		return x.unpack(ctx, p)
	}
	return nil
}

// wantsManifest says that an image which is not pushed needs a manifest all the same, for the next push or for its
// digest.
func (s *Spec) wantsManifest() bool {
	return s.Compression != "" || s.Force || s.OCI != nil || len(s.Annotations) > 0 || s.Canonical || s.Dangling != ""
}

// namesOf are the names that an output gives the image.
func (x *exporter) namesOf(s *Spec) []reference.Named { return x.o.namesOf(s) }

// namesOf are the names that an output gives the image: those of --tag, as with buildx, or else its own.
func (o *Options) namesOf(s *Spec) []reference.Named {
	names := s.Names
	if len(o.Tags) > 0 {
		names = o.Tags
	}
	var tagged []reference.Named
	for _, ref := range names {
		tagged = append(tagged, reference.TagNameOnly(ref))
	}
	return tagged
}

// push sends the images to the registries of all names.
func (x *exporter) push(ctx context.Context, m *transfer.Mover, s *Spec, p *packed, names []reference.Named, out *output) (digest.Digest, error) {
	var manifest digest.Digest
	for _, ref := range names {
		to := m
		if s.Insecure {
			to = m.WithInsecurePush(reference.Domain(ref))
		}
		sent, err := to.PushBundle(ctx, ref, p.bundle)
		if err != nil {
			return "", fmt.Errorf("pushing %s: %w", reference.FamiliarString(ref), err)
		}
		manifest = sent.Descriptor.Digest
		out.item(fmt.Sprintf("pushing manifest for %s@%s", ref, manifest), 0, 0, "done")
		x.result.describe(sent, p)
	}
	return manifest, nil
}

// pushed shows layers that are pushed as items of an output.
type pushed struct {
	out         *output
	mu          sync.Mutex
	compressing map[digest.Digest]bool
}

func newPushed(out *output) *pushed { return &pushed{out: out, compressing: map[digest.Digest]bool{}} }

// Send implements event.Sink.
func (p *pushed) Send(e event.Event) {
	l, ok := e.(event.Layer)
	if !ok {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.Status != "Compressing" {
		p.stop(l.ID)
	}
	switch l.Status {
	case "Preparing", "Compressing":
		p.compressing[l.ID] = true
		p.out.item("compressing "+l.ID.String(), l.Current, l.Total, "")
	case registry.StatusWaiting:
	case registry.StatusPushing:
		p.out.item("pushing "+l.ID.String(), l.Current, l.Total, "")
	case registry.StatusPushed:
		p.out.item("pushing "+l.ID.String(), l.Current, l.Total, "done")
	default:
		p.out.item(l.Status+" "+l.ID.String(), 0, 0, "done")
	}
}

// stop says that a layer is not being compressed any more. p.mu is held.
func (p *pushed) stop(diffID digest.Digest) {
	if p.compressing[diffID] {
		delete(p.compressing, diffID)
		p.out.item("compressing "+diffID.String(), 0, 0, "done")
	}
}

// done says that nothing is compressed any more.
func (p *pushed) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, diffID := range slices.Sorted(maps.Keys(p.compressing)) {
		p.stop(diffID)
	}
}

// keep makes the result images of the store.
func (x *exporter) keep(p *packed, out *output) error {
	for _, item := range p.bundle.Items {
		c, err := x.Store.Config(item.ID)
		if err == nil {
			_, err = x.Store.PutConfig(c.Data, c.Parent, store.Image)
		}
		if err != nil {
			return fmt.Errorf("keeping the image: %w", err)
		}
		if err := x.SetAttestations(item.ID, item.Attestations); err != nil {
			return err
		}
		out.item("writing image "+item.ID.String(), 0, 0, "done")
	}
	return nil
}

// name names the images. manifest is that of the image or index, "" if there is none.
func (x *exporter) name(s *Spec, p *packed, names []reference.Named, manifest digest.Digest, out *output) error {
	ids := p.ids(x.Platform)
	pushed := digest.Digest("")
	if s.Push {
		pushed = manifest
	}
	if s.ByDigest {
		names = nil
	}
	all := names
	if s.Canonical || s.ByDigest {
		for _, ref := range x.namesOf(s) {
			canonical, err := reference.WithDigest(reference.TrimNamed(ref), manifest)
			if err != nil {
				return err
			}
			all = append(all, canonical)
		}
	}
	if s.Dangling != "" && (len(all) == 0 || !s.DanglingOnly) {
		prefix, err := registry.ParseName(s.Dangling)
		if err != nil {
			return err
		}
		dangling, err := reference.WithDigest(reference.TrimNamed(prefix), manifest)
		if err != nil {
			return err
		}
		all = append(all, dangling)
	}
	for _, ref := range all {
		if err := x.Store.SetImages(ref, ids, pushed); err != nil {
			return fmt.Errorf("naming the image: %w", err)
		}
		out.item("naming to "+ref.String(), 0, 0, "done")
		x.result.Names = append(x.result.Names, ref)
	}
	return nil
}

// ids are the images' IDs, the one first that suits this machine best, which a name means where no platform is
// asked for.
func (p *packed) ids(here ocispec.Platform) []digest.Digest {
	items := slices.Clone(p.bundle.Items)
	slices.SortStableFunc(items, func(a, b transfer.Item) int {
		return cmp.Compare(platform.Rank(b.Platform, here), platform.Rank(a.Platform, here))
	})
	var ids []digest.Digest
	for _, item := range items {
		ids = append(ids, item.ID)
	}
	return ids
}

// unpack lays the layers out as a container needs them, which otherwise happens when one starts.
func (x *exporter) unpack(ctx context.Context, p *packed) error {
	for _, c := range p.configs {
		if _, err := x.Store.Lowers(ctx, c.RootFS.DiffIDs, nil); err != nil {
			return err
		}
	}
	return nil
}
