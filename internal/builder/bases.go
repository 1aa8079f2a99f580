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

	"github.com/strata-build/strata/internal/builder/solver"
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
	state, err := solver.NewState(b.build.store, c)
	if err == nil && b.build.Cache.NoCache {
		err = b.verify(ctx, state.Chain())
	}
	return state, err
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
