package builder

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/image/platform"
)

// imported opens the caches from elsewhere, at once, for each platform that is built for: a name may mean another image
// for each. One that cannot be had is a warning, not a failed build.
func (b *build) imported(ctx context.Context) map[string][]*cache.Source {
	targets := b.Target.targets()
	found := make([]*cache.Source, len(b.Cache.From)*len(targets))
	failed := make([]error, len(found))
	var wg sync.WaitGroup
	for i := range found {
		spec, target := b.Cache.From[i/len(targets)], targets[i%len(targets)]
		wg.Go(func() {
			p := b.beginPhase("load cache from " + spec.Ref)
			found[i], failed[i] = CachePlaces.Kind(spec).Open(ctx, b.mover, spec, target)
			p.end(nil)
		})
	}
	wg.Wait()
	all := map[string][]*cache.Source{}
	if b.Cache.Shared != nil {
		for _, target := range targets {
			all[platform.Format(target)] = []*cache.Source{b.Cache.Shared}
		}
	}
	for i, s := range found {
		spec, target := b.Cache.From[i/len(targets)], platform.Format(targets[i%len(targets)])
		if failed[i] == nil {
			b.mountCaches.addSource(b.Cache.From[i/len(targets)], found[i])
			all[target] = append(all[target], s)
		} else if ctx.Err() == nil {
			b.events.Send(event.Warning{Text: fmt.Sprintf("no cache from %s: %v", spec.Ref, failed[i])})
		}
	}
	return all
}

// sharedPatience is for how long a build waits for a place that it shares with other machines and that does not answer.
const sharedPatience = time.Minute

// shared is the first of the imported caches that is also written to, and that machines share.
func (b *build) shared(imported []*cache.Source) *cache.Source {
	if b.Cache.Shared != nil {
		return b.Cache.Shared
	}
	for _, spec := range b.Cache.To {
		kind := CachePlaces.Kind(spec)
		if !kind.Leases || !spec.Leases() {
			continue
		}
		to, err := kind.Create(b.mover, spec)
		if err != nil {
			continue // exporting the cache says so
		}
		where := to.(cache.Sharer).Where()
		for _, source := range imported {
			if from, ok := source.Place.(cache.Sharer); ok && from.Where() == where {
				source.Wait = sharedPatience
				return source
			}
		}
	}
	return nil
}

// exportCaches writes the caches that --cache-to asks for. The image is there already: it stays whatever happens here.
func (b *build) exportCaches(ctx context.Context, parts []*part) error {
	for _, d := range b.destinations {
		if err := b.exportCache(ctx, parts, d); err != nil {
			return err
		}
	}
	return nil
}

// exportCache writes one of them, and then the cache mounts.
func (b *build) exportCache(ctx context.Context, parts []*part, d *destination) error {
	shown := b.beginPhase("export cache to " + d.spec.Ref)
	var steps []cache.Step
	for _, p := range parts {
		steps = append(steps, p.solver.Steps(p.plan, d.spec.Max())...)
	}
	err := d.err
	if err == nil {
		d.early.wait()
		err = d.place.Put(ctx, steps)
	}
	failed := err != nil
	err = b.notExported(ctx, d.spec, err)
	shown.end(err)
	if failed {
		return err
	}
	return b.notExported(ctx, d.spec, b.mountCaches.send(ctx, d.spec, d.place))
}

// notExported is what comes of an error: a warning, where the person wants that.
func (b *build) notExported(ctx context.Context, spec places.Spec, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	err = fmt.Errorf("exporting the cache to %s: %w", spec.Ref, err)
	if spec.IgnoreError() {
		b.warn(err.Error())
		return nil
	}
	return err
}
