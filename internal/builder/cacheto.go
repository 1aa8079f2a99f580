package builder

import (
	"context"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/image/platform"
)

// sendAtOnce is how many layers go to one place while the build goes on.
const sendAtOnce = 4

// destination is a place that --cache-to names.
type destination struct {
	spec  places.Spec
	place cache.Place // nil where it could not be opened
	err   error       // why
	early *early      // nil where layers are sent when the build has ended
}

// early sends layers to a place while the build goes on: as soon as a step has run and its record is there, its layer is final.
// Records follow when the build has ended, after their layers as ever. A build that is cut leaves what was sent, which the next one
// does not send again. It is an event.Sink. What goes wrong is told when the cache is exported, which tries again.
type early struct {
	ctx    context.Context
	cancel context.CancelFunc
	to     cache.Receiver
	stages map[event.StageID]bool // whose layers go there; nil for all
	slots  chan struct{}
	all    sync.WaitGroup

	mu     sync.Mutex
	begun  map[digest.Digest]bool
	failed bool
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

func newEarly(ctx context.Context, to cache.Receiver, stages map[event.StageID]bool) *early {
	e := &early{to: to, stages: stages, slots: make(chan struct{}, sendAtOnce), begun: map[digest.Digest]bool{}}
	e.ctx, e.cancel = context.WithCancel(ctx)
	return e
}

// Send implements event.Sink.
func (e *early) Send(ev event.Event) {
	f, ok := ev.(event.Finished)
	if !ok || f.Status != event.Done || f.Record == nil || f.Record.Layer == "" || !f.Vertex.Kind.IsStep() {
		return
	}
	if e.stages != nil && !e.stages[f.Vertex.Stage.StageID] {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	d := f.Record.Layer
	if e.failed || e.begun[d] {
		return
	}
	e.begun[d] = true
	e.all.Go(func() { e.send(d) })
}

func (e *early) send(d digest.Digest) {
	select {
	case e.slots <- struct{}{}:
		defer func() { <-e.slots }()
	case <-e.ctx.Done():
		return
	}
	if err := e.to.Receive(e.ctx, d); err != nil {
		e.mu.Lock()
		e.failed = true
		e.mu.Unlock()
	}
}

// wait waits until all that was begun has ended.
func (e *early) wait() {
	if e != nil {
		e.all.Wait()
	}
}

// stop ends what is on the way, and waits for that.
func (e *early) stop() {
	if e != nil {
		e.cancel()
		e.all.Wait()
	}
}

// sinks are the build's events, and who sends layers while it goes on.
func (b *build) sinks() event.Sink {
	all := event.Tee{b.events}
	for _, d := range b.destinations {
		if d.early != nil {
			all = append(all, d.early)
		}
	}
	if len(all) == 1 {
		return b.events
	}
	return all
}
