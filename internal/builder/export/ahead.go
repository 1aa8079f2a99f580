package export

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/transfer"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// worthAhead is how many bytes the files of a layer have at least that is pushed while the build goes on: the push at
// the end sends smaller ones all at once, in the time of a few requests.
const worthAhead = 1 << 20

// Ahead pushes layers while the build goes on, before there is an image with them: a cache.Receiver. The outputs find
// them in the registries. What fails here is a line of progress: the outputs send it again, and fail if that does.
type Ahead struct {
	mover *transfer.Mover
	to    []*repository

	mu     sync.Mutex // of all below
	events event.Sink
	shown  *pushed // nil until something is sent, and after End
}

// repository is where layers go ahead.
type repository struct {
	ref      reference.Named
	want     transfer.Packing
	insecure bool // its host may be plain HTTP, for what is pushed
	givenUp  bool // a layer could not be sent there, so that no other is
}

// NewAhead is for those of the outputs that push the layers as the steps made them; nil where none does. Layers that get
// other times or a table of contents are made when the build has ended.
func NewAhead(m *transfer.Mover, specs []Spec, o Options) *Ahead {
	a := &Ahead{mover: m, events: event.OrDiscard(o.Events)}
	seen := map[string]bool{}
	for i := range specs {
		s := &specs[i]
		redated := s.epochOr(o.Epoch) != nil && (s.Rewrite == nil || *s.Rewrite)
		if !s.Push || s.Late || s.Seekable || redated {
			continue
		}
		want, level := transfer.Packing{Compression: s.Compression, Level: s.Level}, -1
		if s.Level != nil {
			level = *s.Level
		}
		for _, ref := range o.namesOf(s) {
			key := fmt.Sprint(ref.Name(), want.Compression, level, s.Insecure)
			if !seen[key] {
				seen[key] = true
				a.to = append(a.to, &repository{ref: reference.TrimNamed(ref), want: want, insecure: s.Insecure})
			}
		}
	}
	if len(a.to) == 0 {
		return nil
	}
	return a
}

// IsPlain says that layers go in any form, so that it makes no difference whether they are of the base image.
func (a *Ahead) IsPlain() bool {
	return !slices.ContainsFunc(a.to, func(to *repository) bool { return to.want.Compression != "" || to.want.Level != nil })
}

// Receive sends a layer to all repositories that lack it, one after the other: it is compressed once. Where one could
// not be sent, no other is.
func (a *Ahead) Receive(ctx context.Context, diffID digest.Digest) error {
	l, err := a.mover.Store.Layer(diffID)
	if err != nil || l.Size < worthAhead || !l.Present() {
		return nil // where something is wrong, the output says it
	}
	m := a.mover.With(a)
	for _, to := range a.to {
		if a.isGivenUp(to) {
			continue
		}
		m := m
		if to.insecure {
			m = m.WithInsecurePush(reference.Domain(to.ref))
		}
		err := m.PushLayer(ctx, to.ref, diffID, to.want)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			a.giveUp(to, err)
		}
	}
	return nil
}

func (a *Ahead) isGivenUp(to *repository) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return to.givenUp
}

// giveUp notes that a layer could not be sent to a repository, and says why, once.
func (a *Ahead) giveUp(to *repository, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if to.givenUp {
		return
	}
	to.givenUp = true
	line := fmt.Sprintf("%v; it is tried again when the build has ended\n", err)
	a.events.Send(event.Output{Vertex: a.begin().out.vertex, Stream: 2, Data: []byte(line)})
}

// Send implements event.Sink: it shows what is sent.
func (a *Ahead) Send(e event.Event) {
	if l, ok := e.(event.Layer); !ok || l.Status == registry.StatusWaiting || l.Status == registry.StatusExists {
		return
	}
	a.mu.Lock()
	shown := a.begin()
	a.mu.Unlock()
	shown.Send(e)
}

// begin shows that layers are pushed. a.mu is held.
func (a *Ahead) begin() *pushed {
	if a.shown == nil {
		var names []string
		for _, to := range a.to {
			names = append(names, reference.FamiliarName(to.ref))
		}
		v := event.Begin(a.events, event.Export, "pushing layers to "+strings.Join(names, ", "))
		a.shown = newPushed(&output{a.events, v})
	}
	return a.shown
}

// End shows that nothing is sent any more.
func (a *Ahead) End() {
	a.mu.Lock()
	shown := a.shown
	a.shown = nil
	a.mu.Unlock()
	if shown != nil {
		shown.done()
		event.End(a.events, shown.out.vertex, nil)
	}
}
