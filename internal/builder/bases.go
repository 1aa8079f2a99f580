package builder

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/strata-build/strata/internal/builder/attest"
	"github.com/strata-build/strata/internal/builder/solver"
	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// bases are the images of a build's FROMs, each looked up once for each platform, however many of the build's parts
// want it.
type bases struct {
	build *build
	// patience is how long a registry is waited for where an image is only looked at, 0 for a build.
	patience time.Duration

	mu    sync.Mutex
	found map[string]func() (*solver.State, error)
	taken attest.Dependencies
	all   []base
}

// base is an image that was found, by its name and platform for people.
type base struct {
	name  string
	state *solver.State
}

func newBases(b *build) *bases {
	return &bases{build: b, found: map[string]func() (*solver.State, error){}}
}

// image finds the image of a FROM or COPY --from, for a platform.
func (b *bases) image(ctx context.Context, ref string, want ocispec.Platform) (*solver.State, error) {
	key := platform.Format(want) + " " + ref
	b.mu.Lock()
	find := b.found[key]
	if find == nil {
		find = sync.OnceValues(func() (*solver.State, error) { return b.load(ctx, ref, want) })
		b.found[key] = find
	}
	b.mu.Unlock()
	return find()
}

// ask begins to look up the images that stages start from, while the caches from elsewhere are read: the solver asks
// for the same at once, and has the answer then. The function that is returned ends what still goes on of it.
func (b *bases) ask(ctx context.Context, parts []*part) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, p := range parts {
		stages := p.plan.Stages
		if b.build.Target.Dialect.Steps.StagesInOrder {
			stages = stages[:1]
		}
		for _, st := range stages {
			if st.Base.Stage == nil && !st.Base.Empty() {
				wg.Go(func() { _, _ = b.image(ctx, st.Base.Image, st.Platform) })
			}
		}
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

func (b *bases) load(ctx context.Context, ref string, want ocispec.Platform) (*solver.State, error) {
	name := ref
	if named, err := reference.ParseNormalizedNamed(ref); err == nil {
		name = reference.TagNameOnly(named).String()
	}
	title := "[internal] load metadata for " + name
	if len(b.build.Target.Platforms) > 1 {
		title = "[" + platform.Format(want) + " internal] load metadata for " + name
	}
	if other := b.build.input.named.others[ref]; other != nil {
		title = "[internal] wait for target " + other.Name
	}
	p := b.build.beginNamed(title)
	c, err := b.find(ctx, ref, want)
	if b.patience > 0 && registry.Unanswered(err) {
		p.end(nil) // what that means is said with the answer
		return nil, err
	}
	p.end(err)
	if err != nil {
		return nil, err
	}
	if b.build.Output.Attest.Traced() {
		if err := b.take(ref, want, c); err != nil {
			return nil, err
		}
	}
	state, err := solver.NewState(b.build.store, c)
	if err == nil && b.build.Cache.NoCache {
		err = b.verify(ctx, state.Chain())
	}
	if err == nil {
		if len(b.build.Target.Platforms) > 1 {
			name += " for " + platform.Format(want)
		}
		b.mu.Lock()
		b.all = append(b.all, base{name, state})
		b.mu.Unlock()
	}
	return state, err
}

// sayParts says which images were read in parts, by which tables of contents, and how much of them came.
func (b *bases) sayParts() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, of := range b.all {
		var by []string
		sums := map[string]store.PartsRead{}
		for _, p := range b.build.store.ReadInParts(of.state.Chain()) {
			sum, ok := sums[p.By]
			if !ok {
				by = append(by, p.By)
			}
			sums[p.By] = store.PartsRead{By: p.By, Came: sum.Came + p.Came, Size: sum.Size + p.Size}
		}
		if len(by) == 0 {
			continue
		}
		p := b.build.beginNamed("[internal] read parts of " + of.name)
		for _, name := range by {
			p.say("by %s: %s of %s fetched", name, human.Size(sums[name].Came), human.Size(sums[name].Size))
		}
		p.end(nil)
	}
}

// take notes an image as what the build depends on. Its digest is that of the manifest, by which registries know it,
// and of an image that never was in one its ID.
func (b *bases) take(ref string, want ocispec.Platform, c *store.Config) error {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil || b.build.input.named.others[ref] != nil || b.build.input.named.layouts[ref] != nil {
		return nil // it is of this machine, and no name leads to it
	}
	d := attest.Dependency{URI: transfer.PackageURL(named, want), Digest: transfer.DigestSet(c.ID), Annotations: map[string]string{"digest": "of the image's config"}}
	manifests, err := b.build.store.ManifestsOf(c.ID)
	if err != nil {
		return err
	}
	if len(manifests) > 0 {
		d.Digest, d.Annotations = transfer.DigestSet(manifests[0].Digest), nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken.Add(d)
	return nil
}

// verify reads the layers of a base image that are here, since --no-cache relies on nothing that was kept. What is
// damaged is set aside, and fetched again when a step needs it.
func (b *bases) verify(ctx context.Context, chain []digest.Digest) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, d := range chain {
		g.Go(func() error {
			l, err := b.build.store.Layer(d)
			if errors.Is(err, store.ErrNotFound) {
				return nil // whoever needs it says so
			}
			if err == nil {
				_, err = l.Sound(ctx)
			}
			return err
		})
	}
	return g.Wait()
}

func (b *bases) find(ctx context.Context, ref string, want ocispec.Platform) (*store.Config, error) {
	if other := b.build.input.named.others[ref]; other != nil {
		id, err := other.Image(ctx, want)
		if err != nil {
			return nil, err
		}
		return b.build.store.Config(id)
	}
	if l := b.build.input.named.layouts[ref]; l != nil {
		return b.build.mover.LayoutBase(l.Dir, l.Tag, l.Digest, want)
	}
	if b.patience > 0 {
		bounded, cancel := context.WithTimeout(ctx, b.patience)
		defer cancel()
		ctx = bounded
	}
	return b.build.mover.Base(ctx, ref, transfer.Wanted{Platform: want, Sole: true, Pull: b.build.Cache.Pull})
}
