package export

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/transfer"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// worthAhead is how many bytes the files of a layer have at least that is pushed while the build goes on: the push at
// the end sends smaller ones all at once, in the time of a few requests.
const worthAhead = 1 << 20

// patience is for how long a repository that has not answered yet is waited for when the build has ended: the push at
// the end waits for it with more, and says what is wrong.
const patience = 5 * time.Second

// Ahead pushes layers while the build goes on, before there is an image with them: a cache.Receiver. The outputs find
// them in the registries. What fails here is a line of progress: the outputs send it again, and fail if that does.
type Ahead struct {
	mover *transfer.Mover
	to    []*repository

	mu     sync.Mutex // of all below, and of what becomes of the repositories
	events event.Sink
	shown  *pushed   // nil until something is sent, and after End
	moved  time.Time // when something was last heard of a layer
}

// repository is where layers go ahead.
type repository struct {
	ref      reference.Named
	want     transfer.Packing
	insecure bool // its host may be plain HTTP, for what is pushed
	state    repositoryState
	asked    int       // layers that are on their way there now
	since    time.Time // when the first of those was begun
	ctx      context.Context
	cancel   context.CancelCauseFunc // of ctx: it is not waited for any longer
}

// repositoryState is what is known of a repository.
type repositoryState int

const (
	silent  repositoryState = iota // it has neither answered nor taken a byte
	answers                        // it has
	givenUp                        // a layer could not be sent there, so that no other is
)

// NewAhead is for those of the outputs that push the layers as the steps made them; nil where none does. Layers that
// get other times or a table of contents are made when the build has ended.
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
				to := &repository{ref: reference.TrimNamed(ref), want: want, insecure: s.Insecure}
				to.ctx, to.cancel = context.WithCancelCause(context.Background())
				a.to = append(a.to, to)
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

// IsSending says that a layer is on its way, or a repository is asked for it.
func (a *Ahead) IsSending() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.ContainsFunc(a.to, func(to *repository) bool { return to.asked > 0 })
}

// Receive sends a layer to all repositories that lack it, one after the other: it is compressed once. Where one could
// not be sent, no other is.
func (a *Ahead) Receive(ctx context.Context, diffID digest.Digest) error {
	l, err := a.mover.Store.Layer(diffID)
	if err != nil || l.Size < worthAhead || !l.Present() {
		return nil // where something is wrong, the output says it
	}
	for _, to := range a.to {
		if !a.begins(to) {
			continue
		}
		err := a.send(ctx, to, diffID)
		a.ends(to)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			a.giveUp(to, err)
		}
	}
	return nil
}

// send sends a layer to a repository for as long as that is waited for.
func (a *Ahead) send(ctx context.Context, to *repository, diffID digest.Digest) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer context.AfterFunc(to.ctx, func() { stop(context.Cause(to.ctx)) })()
	m := a.mover.With(heard{a, to})
	if to.insecure {
		m = m.WithInsecurePush(reference.Domain(to.ref))
	}
	err := m.PushLayer(ctx, to.ref, diffID, to.want)
	if err != nil && to.ctx.Err() != nil {
		return context.Cause(to.ctx)
	}
	return err
}

// begins says whether a layer is to be sent to a repository, which begins now.
func (a *Ahead) begins(to *repository) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if to.state == givenUp {
		return false
	}
	if to.asked++; to.asked == 1 {
		to.since = time.Now()
	}
	return true
}

func (a *Ahead) ends(to *repository) {
	a.mu.Lock()
	defer a.mu.Unlock()
	to.asked--
}

// Await waits for done, which says that all that was begun has ended, and gives up repositories that do not answer.
func (a *Ahead) Await(done <-chan struct{}) {
	look := time.NewTicker(patience / 10)
	defer look.Stop()
	for {
		select {
		case <-done:
			return
		case <-look.C:
			a.leaveSilent()
		}
	}
}

// leaveSilent gives up the repositories that have not answered for as long as patience, while nothing else has moved.
func (a *Ahead) leaveSilent() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, to := range a.to {
		if to.state == silent && to.asked > 0 && time.Since(to.since) > patience && time.Since(a.moved) > patience {
			to.cancel(fmt.Errorf("%s: it has not answered for %v", reference.FamiliarName(to.ref), patience))
		}
	}
}

// giveUp notes that a layer could not be sent to a repository, and says why, once.
func (a *Ahead) giveUp(to *repository, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if to.state == givenUp {
		return
	}
	to.state = givenUp
	line := fmt.Sprintf("%v; it is tried again when the build has ended\n", err)
	a.events.Send(event.Output{Vertex: a.begin().out.vertex, Stream: 2, Data: []byte(line)})
}

// heard is what is heard of layers on their way to a repository.
type heard struct {
	*Ahead
	to *repository
}

// Send implements event.Sink: it shows what is sent, and notes that the repository answers.
func (h heard) Send(e event.Event) {
	l, ok := e.(event.Layer)
	if !ok {
		return
	}
	if shown := h.note(l); shown != nil {
		shown.Send(e)
	}
}

// note notes what was heard, and returns where it is shown; nil is nowhere.
func (h heard) note(l event.Layer) *pushed {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.moved = time.Now()
	switch l.Status {
	case registry.StatusWaiting:
		return nil
	case "Preparing", "Compressing":
		return h.begin()
	}
	if h.to.state == silent && (l.Status != registry.StatusPushing || l.Current > 0) {
		h.to.state = answers
	}
	if l.Status == registry.StatusExists {
		return nil
	}
	return h.begin()
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
