package builder

import (
	"context"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/image/platform"
)

// destination is a place that --cache-to names.
type destination struct {
	spec  places.Spec
	place cache.Place // nil where it could not be opened
	err   error       // why
	early *early      // nil where layers are sent when the build has ended
}

// openDestinations opens the places that the build's cache goes to.
func (b *build) openDestinations(ctx context.Context, parts []*part) {
	for _, spec := range b.Cache.To {
		create := CachePlaces.Kind(spec).Create
		if create == nil {
			continue
		}
		d := &destination{spec: spec}
		d.place, d.err = create(b.mover, spec)
		if to, ok := d.place.(cache.Receiver); ok && d.err == nil && !b.isShared(d, parts) {
			d.early = newEarly(ctx, to, sentStages(parts, spec.Max()))
		}
		b.destinations = append(b.destinations, d)
	}
}

// isShared says that a place has its layers sent by the solver, for the machines that wait for them.
func (b *build) isShared(d *destination, parts []*part) bool {
	to, ok := d.place.(cache.Sharer)
	if !ok {
		return false
	}
	for _, p := range parts {
		if source := b.shared(p.imported); source != nil && source.Place.(cache.Sharer).Where() == to.Where() {
			return true
		}
	}
	return false
}

// sentStages are the stages whose layers a cache has: all, or those that the targets consist of.
func sentStages(parts []*part, all bool) map[event.StageID]bool {
	if all {
		return nil
	}
	found := map[event.StageID]bool{}
	for _, p := range parts {
		for of := p.plan.Target; of != nil; of = of.Base.Stage {
			found[event.StageID{Platform: platform.Format(of.TargetPlatform()), Index: of.Index}] = true
		}
	}
	return found
}
