package cache

import (
	"context"
	"fmt"
	"time"
)

// Patience is for how long a place that others are waited for at may not answer.
type Patience struct {
	most  time.Duration
	since time.Time // of the first failure
	tries int
}

// NewPatience returns one that lasts for a while after each answer.
func NewPatience(most time.Duration) *Patience { return &Patience{most: most} }

// Over says that the place has answered.
func (p *Patience) Over() { p.since, p.tries = time.Time{}, 0 }

// Pause waits before the next try. The error is what failed, where that has gone on for too long, or why the context ended.
func (p *Patience) Pause(ctx context.Context, failed error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if p.since.IsZero() {
		p.since = time.Now()
	}
	if time.Since(p.since) > p.most {
		return fmt.Errorf("it has not answered for %s: %w", p.most, failed)
	}
	p.tries++
	select {
	case <-time.After(min(time.Duration(p.tries)*100*time.Millisecond, 2*time.Second)):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
