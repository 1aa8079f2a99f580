package builder

import (
	"context"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/export"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/event"
)

// sendAtOnce is how many layers go to one place while the build goes on.
const sendAtOnce = 4

// early sends layers to a place while the build goes on: as soon as a step has run and its record is there, its layer
// is final. Records follow when the build has ended, after their layers as ever. A build that is cut leaves what was
// sent, which the next one does not send again. It is an event.Sink. What goes wrong is told when the cache or the
// image is exported, which tries again.
type early struct {
	ctx    context.Context
	cancel context.CancelFunc
	to     cache.Receiver
	stages map[event.StageID]bool // whose layers go there; nil for all
	cached bool                   // layers of steps that were in the cache go there too
	slots  chan struct{}
	all    sync.WaitGroup

	mu     sync.Mutex
	begun  map[digest.Digest]bool
	failed bool
}

func newEarly(ctx context.Context, to cache.Receiver, stages map[event.StageID]bool) *early {
	e := &early{to: to, stages: stages, slots: make(chan struct{}, sendAtOnce), begun: map[digest.Digest]bool{}}
	e.ctx, e.cancel = context.WithCancel(ctx)
	return e
}

// Send implements event.Sink.
func (e *early) Send(ev event.Event) {
	f, ok := ev.(event.Finished)
	if !ok || f.Record == nil || f.Record.Layer == "" || !f.Vertex.Kind.IsStep() {
		return
	}
	if f.Status != event.Done && !(e.cached && f.Status == event.Cached) {
		return
	}
	if e.stages != nil && !e.stages[f.Vertex.Stage.StageID] {
		return
	}
	e.begin(f.Record.Layer)
}

// begin begins to send a layer, unless that was begun.
func (e *early) begin(d digest.Digest) {
	e.mu.Lock()
	defer e.mu.Unlock()
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
	if b.pushing != nil {
		all = append(all, b.pushing.early)
	}
	if len(all) == 1 {
		return b.events
	}
	return all
}

// pushing is the layers of the targets on their way to the registries of the outputs.
type pushing struct {
	early *early
	to    *export.Ahead
}

// beginPushing has the layers of the targets pushed as soon as they are there, where outputs push them as they are.
func (b *build) beginPushing(ctx context.Context, parts []*part) {
	to := export.NewAhead(b.mover, b.Output.Specs, b.exportOptions())
	if to == nil {
		return
	}
	b.pushing = &pushing{newEarly(ctx, to, sentStages(parts, false)), to}
	b.pushing.early.cached = true
}

// wait waits until all that was begun has ended, when images are what came of the build: beside what is still on its
// way go their other large layers, those of the base. Repositories that do not answer are left to the outputs, which
// say what is wrong. Of nil there is nothing.
func (p *pushing) wait(images []export.Image) {
	if p == nil {
		return
	}
	if p.to.IsSending() && p.to.IsPlain() {
		for i := range images {
			if c := images[i].Config; c != nil {
				for _, d := range c.RootFS.DiffIDs {
					p.early.begin(d)
				}
			}
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.early.wait()
	}()
	p.to.Await(done)
	p.to.End()
}

// stop ends what is on the way, and waits for that. Of nil there is nothing.
func (p *pushing) stop() {
	if p != nil {
		p.early.stop()
		p.to.End()
	}
}
