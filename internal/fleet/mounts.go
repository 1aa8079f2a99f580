package fleet

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/exec"
	"github.com/strata-build/strata/internal/cache/packed"
	"github.com/strata-build/strata/internal/store"
)

const (
	// mountsEvery is how long a worker leaves a cache mount alone that it has sent.
	mountsEvery = 5 * time.Minute
	// mountsAtEnd is how long a worker that is ended may take to send what its mounts have that others have not.
	mountsAtEnd = 2 * time.Minute
	mountsLimit = 5 << 30 // bytes of a mount that is sent, as of --cache-to
)

// caches carries cache mounts between workers: of one that this machine has none of, a step brings what the depot has, and
// what steps have changed is sent when the worker has nothing to do. It is an exec.Caches; nil carries nothing.
type caches struct {
	carrier packed.Carrier
	log     *slog.Logger

	sending sync.Mutex
	mu      sync.Mutex // of all below
	changed map[packed.Name]bool
	sent    map[packed.Name]time.Time
}

func newCaches(s *store.Store, keeper packed.Keeper, log *slog.Logger) *caches {
	return &caches{
		carrier: packed.Carrier{Store: s, Keeper: keeper, Limit: mountsLimit}, log: log,
		changed: map[packed.Name]bool{}, sent: map[packed.Name]time.Time{},
	}
}

// Seen implements exec.Caches.
func (c *caches) Seen(name packed.Name) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changed[name] = true
}

// Restore implements exec.Caches.
func (c *caches) Restore(ctx context.Context, name packed.Name, dir string) bool {
	doc, _, err := c.carrier.Keeper.Mount(ctx, name)
	if err == nil {
		err = c.carrier.Bring(ctx, doc, dir)
	}
	if err != nil && !errors.Is(err, packed.ErrNone) {
		c.log.Warn("a cache mount begins empty", "id", name.ID, "error", err)
	}
	return err == nil
}

// use notes that a step runs with its cache mounts, and gives what carries them.
func (c *caches) use(step *exec.Step) exec.Caches {
	for _, m := range step.Mounts {
		if m.Type == dockerfile.MountCache {
			c.Seen(m.Name(step.Arch))
		}
	}
	return c
}

// due are the mounts that are to be sent: those that steps have run with, and that were not sent since.
func (c *caches) due(all bool) []packed.Name {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []packed.Name
	for name := range c.changed {
		if all || time.Since(c.sent[name]) > mountsEvery {
			names = append(names, name)
			c.sent[name] = time.Now()
			delete(c.changed, name)
		}
	}
	return names
}

// send sends mounts to the depot, one after the other. all has those sent too that were sent a moment ago.
func (c *caches) send(ctx context.Context, all bool) {
	switch {
	case c == nil:
		return
	case all:
		c.sending.Lock()
	case !c.sending.TryLock():
		return // somebody does
	}
	defer c.sending.Unlock()
	for _, name := range c.due(all) {
		began := time.Now()
		sent, err := c.carrier.Sent(ctx, name)
		var made *packed.Snapshot
		if err == nil {
			made, err = c.carrier.Send(ctx, name, sent)
		}
		switch {
		case errors.Is(err, store.ErrNoCacheMount):
		case ctx.Err() != nil:
			c.again(name)
		case err != nil:
			if !errors.Is(err, packed.ErrTooLarge) && !errors.Is(err, packed.ErrUnfit) {
				c.again(name)
			}
			c.log.Warn("a cache mount is not sent", "id", name.ID, "error", err)
		case made != nil:
			c.log.Info("cache mount sent", "id", name.ID, "bytes", made.Size(), "took", time.Since(began).Round(time.Millisecond))
		}
	}
}

// again has a mount sent the next time, which was not.
func (c *caches) again(name packed.Name) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changed[name] = true
}
