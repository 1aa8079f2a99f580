package builder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/packed"
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/store"
)

// mountCaches are the cache mounts of a build as they travel. It is the exec.Caches of its steps: of a mount that this machine
// has none of, the first step that runs with it brings what an imported cache has, and at the end those that --cache-to names
// are sent.
type mountCaches struct {
	build *build

	mu      sync.Mutex
	sources []mountSource
	seen    []packed.Name // in the order in which steps were come to
	// failed are those that an imported cache has, and that could not be restored.
	failed map[packed.Name]bool
}

// mountSource is an imported cache that has mounts.
type mountSource struct {
	name   string
	wanted places.Mounts
	keeper packed.Keeper
	limit  int64 // bytes of a mount
}

// addSource adds an imported cache, unless its kind keeps no mounts, or none of it are wanted.
func (c *mountCaches) addSource(spec places.Spec, source *cache.Source) {
	keeper, ok := source.Place.(packed.Keeper)
	wanted := spec.MountsFrom()
	if !ok || !wanted.Any() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.ContainsFunc(c.sources, func(s mountSource) bool { return s.name == source.Name }) {
		c.sources = append(c.sources, mountSource{source.Name, wanted, keeper, spec.MountsLimit()})
	}
}

// Seen implements exec.Caches.
func (c *mountCaches) Seen(name packed.Name) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.seen, name) {
		c.seen = append(c.seen, name)
	}
}

// Restore implements exec.Caches. A cache that does not answer, or has a damaged mount, is a warning: then the mount begins as
// it does without.
func (c *mountCaches) Restore(ctx context.Context, name packed.Name, dir string) bool {
	for _, s := range c.sources {
		if !s.wanted.Has(name.ID) {
			continue
		}
		doc, _, err := s.keeper.Mount(ctx, name)
		if errors.Is(err, packed.ErrNone) {
			continue
		}
		if err == nil {
			err = c.restore(ctx, s, doc, dir)
		}
		if err == nil {
			return true
		}
		if ctx.Err() == nil {
			c.noteFailed(name, err)
			c.build.warn(fmt.Sprintf("no cache mount %s from %s: %v", shownID(name), s.name, err))
		}
	}
	return false
}

// noteFailed notes that a mount begins without what an imported cache has. One that is damaged there is better made anew.
func (c *mountCaches) noteFailed(name packed.Name, err error) {
	if errors.Is(err, packed.ErrDamaged) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		c.failed = map[packed.Name]bool{}
	}
	c.failed[name] = true
}

func (c *mountCaches) restore(ctx context.Context, s mountSource, doc *packed.Document, dir string) (err error) {
	p := c.build.beginPhase(fmt.Sprintf("restore cache mount %s from %s", shownID(doc.Mount), s.name))
	defer func() { p.end(err) }()
	if err := (packed.Carrier{Store: c.build.store, Keeper: s.keeper, Limit: s.limit}).Bring(ctx, doc, dir); err != nil {
		return err
	}
	p.say("%d files, %s; %s moved", doc.Files, human.Size(doc.Bytes), human.Size(doc.Size()))
	return nil
}

// shownID is a mount's ID as its RUN says it.
func shownID(name packed.Name) string { return strings.TrimPrefix(name.ID, "/") }

// send sends the mounts that a --cache-to names, of those that steps of the build have.
func (c *mountCaches) send(ctx context.Context, spec places.Spec, to cache.Place) error {
	wanted := spec.MountsTo()
	keeper, ok := to.(packed.Keeper)
	if !ok || !wanted.Any() {
		return nil
	}
	for _, id := range wanted.IDs {
		if !slices.ContainsFunc(c.seen, func(n packed.Name) bool { return (places.Mounts{IDs: []string{id}}).Has(n.ID) }) {
			c.build.warn(fmt.Sprintf("mounts=%s: no RUN --mount=type=cache of this build has the id %[1]s", id))
		}
	}
	for _, name := range c.seen {
		if !wanted.Has(name.ID) {
			continue
		}
		err := c.sendMount(ctx, name, spec, keeper)
		switch {
		case errors.Is(err, store.ErrNoCacheMount):
			// no step has run with it here
		case packed.Stays(err), errors.Is(err, errNotRestored):
			c.build.warn(fmt.Sprintf("the cache mount %s is not sent to %s: %v", shownID(name), spec.Ref, err))
		case err != nil:
			return fmt.Errorf("the cache mount %s: %w", shownID(name), err)
		}
	}
	return nil
}

// errNotRestored is why a mount is not sent that would replace a whole one with what a build has made without it.
var errNotRestored = errors.New("it could not be restored, and what is there stays")

// sendMount sends a mount, if there is one here.
func (c *mountCaches) sendMount(ctx context.Context, name packed.Name, spec places.Spec, keeper packed.Keeper) (err error) {
	carrier := packed.Carrier{Store: c.build.store, Keeper: keeper, Limit: spec.MountsLimit()}
	sent, err := carrier.Sent(ctx, name)
	if err != nil {
		return err
	}
	if c.failed[name] {
		if has, err := carrier.Has(ctx, name); err != nil || has {
			return cmp.Or(err, errNotRestored)
		}
	}
	p := c.build.beginPhase(fmt.Sprintf("export cache mount %s to %s", shownID(name), spec.Ref))
	made, err := carrier.Send(ctx, name, sent)
	if made != nil {
		p.say("%d files, %s; %s moved", made.Document.Files, human.Size(made.Document.Bytes), human.Size(made.Size()))
	}
	if packed.Stays(err) {
		p.end(nil)
	} else {
		p.end(err)
	}
	return err
}

func (b *build) warn(text string) { b.events.Send(event.Warning{Text: text}) }
