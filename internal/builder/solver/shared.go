package solver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/local"
	"github.com/strata-build/strata/internal/event"
)

// Machines that share a place run each step once: who is about to run one claims it there, the others wait for its
// record and see what it prints (cache.Sharer, docs/cache.md).

// maxSharing is how many layers a build sends at once while it goes on.
const maxSharing = 4

// sharing is what a build sends to the machines that it shares a place with, while it goes on.
type sharing struct {
	ctx   context.Context // of the build
	slots chan struct{}
	all   sync.WaitGroup

	mu    sync.Mutex
	alone bool // the place does not answer: the build goes on alone
}

func newSharing(ctx context.Context) *sharing {
	return &sharing{ctx: ctx, slots: make(chan struct{}, maxSharing)}
}

// isAlone says that a build shares nothing, or no more.
func (s *Solver) isAlone(op *operation) bool {
	if s.config.Records.Shared == nil || op.shared == nil {
		return true
	}
	s.sharing.mu.Lock()
	defer s.sharing.mu.Unlock()
	return s.sharing.alone
}

// goOnAlone has the build go on without the others, and says so once.
func (s *Solver) goOnAlone(err error) {
	s.sharing.mu.Lock()
	was := s.sharing.alone
	s.sharing.alone = true
	s.sharing.mu.Unlock()
	if !was {
		s.warn(fmt.Sprintf("%v; the build goes on alone, and may run steps that other machines run too", err))
	}
}

// runOnce runs an operation of which there is no record, unless a machine that this one shares a place with does so.
func (s *Solver) runOnce(ctx context.Context, parent *State, step *dockerfile.Step, op *operation) (r *cache.Record, ran bool, err error) {
	w := &waiter{events: s.events, vertex: op.vertex}
	for !s.isAlone(op) {
		claim, err := s.sharer().Claim(ctx, op.shared.Digest(), w)
		if ctx.Err() != nil {
			release(claim)
			return nil, ran, context.Cause(ctx)
		}
		if err != nil && !errors.Is(err, cache.ErrEnded) {
			s.goOnAlone(err)
			break
		}
		theirs, err := s.fromShared(ctx, parent, step, op)
		if err != nil || theirs != nil {
			release(claim)
			if err == nil {
				theirs.Elsewhere = w.elsewhere()
			}
			return theirs, ran, err
		}
		if claim == nil {
			continue
		}
		if r == nil {
			op.claim = claim
			r, err = s.runStep(ctx, step, op, nil)
			if ran = true; err != nil {
				claim.Release()
				return nil, true, err
			}
		}
		switch kept, err := claim.Decide(ctx); {
		case ctx.Err() != nil:
			claim.Release()
			return nil, true, context.Cause(ctx)
		case err != nil:
			claim.Release()
			s.goOnAlone(err)
		case kept:
			s.shareLater(claim, s.carried(op, r))
			return r, true, nil
		default:
			claim.Release() // whoever has it now may have a result, which counts
		}
	}
	if r == nil {
		r, err = s.runStep(ctx, step, op, nil)
	}
	return r, true, err
}

// release lets go of a claim, if there is one.
func release(c cache.Claim) {
	if c != nil {
		c.Release()
	}
}

func (s *Solver) sharer() cache.Sharer { return s.config.Records.Shared.Place.(cache.Sharer) }

// fromShared looks an operation up in the place that is shared, and keeps what it finds; nil if there is nothing.
func (s *Solver) fromShared(ctx context.Context, parent *State, step *dockerfile.Step, op *operation) (*cache.Record, error) {
	r, err := s.fromSource(ctx, s.config.Records.Shared, parent, step, op)
	if err != nil || r == nil {
		return nil, err
	}
	r.Fetches = s.fetches(step)
	return r, local.SaveObserved(s.store, op.key, r)
}

// shareLater sends a step to the others while the build goes on.
func (s *Solver) shareLater(claim cache.Claim, step cache.Step) {
	s.sharing.all.Go(func() {
		ctx := s.sharing.ctx
		select {
		case s.sharing.slots <- struct{}{}:
			defer func() { <-s.sharing.slots }()
		case <-ctx.Done():
			claim.Release()
			return
		}
		if err := claim.Share(ctx, step); err != nil && ctx.Err() == nil {
			s.goOnAlone(err)
		}
	})
}

// waiter shows of a step that another machine runs what it prints there.
type waiter struct {
	events event.Sink
	vertex *event.Vertex

	host  string
	since time.Time
}

// Waiting implements cache.Follow.
func (w *waiter) Waiting(host string) {
	if w.host == "" {
		w.since = time.Now()
	}
	w.host = host
	w.print(fmt.Appendf(nil, "waiting for %s, which runs this step\n", host))
}

// Printed implements cache.Follow.
func (w *waiter) Printed(p []byte) { w.print(p) }

func (w *waiter) print(p []byte) {
	w.events.Send(event.Output{Vertex: w.vertex, Stream: 2, Data: p})
}

// elsewhere is who ran the step; nil where nobody was waited for.
func (w *waiter) elsewhere() *cache.Elsewhere {
	if w.host == "" {
		return nil
	}
	return &cache.Elsewhere{Host: w.host, Waited: time.Since(w.since)}
}

// shareScratch agrees with the machines that share a place when a stage began from scratch: the record that is there,
// or else this machine's.
func (s *Solver) shareScratch(ctx context.Context, key *cache.Key, mine *cache.Record) (*cache.Record, error) {
	op := &operation{keys: keys{key: key, shared: key}}
	if s.isAlone(op) {
		return mine, nil
	}
	for {
		claim, err := s.sharer().Claim(ctx, key.Digest(), nil)
		if err != nil && !errors.Is(err, cache.ErrEnded) {
			return s.aloneWith(ctx, mine, err)
		}
		theirs, err := s.config.Records.Shared.Get(ctx, key.Digest())
		switch {
		case err == nil:
			release(claim)
			return theirs, nil
		case !errors.Is(err, cache.ErrNotFound):
			release(claim)
			return s.aloneWith(ctx, mine, err)
		case claim == nil:
			continue
		}
		if err := claim.Share(ctx, cache.NewStep(key, mine)); err != nil {
			return s.aloneWith(ctx, mine, err)
		}
		return mine, nil
	}
}

// aloneWith is this machine's record where the place that is shared does not answer.
func (s *Solver) aloneWith(ctx context.Context, mine *cache.Record, err error) (*cache.Record, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	s.goOnAlone(err)
	return mine, nil
}
