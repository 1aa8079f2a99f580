package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/packed"
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/store"
)

const (
	// mountPatience is how long a cache mount that another build uses is waited for before it is sent.
	mountPatience = 10 * time.Second
	// fresh is how old a document may be that is not written anew where nothing has changed: its age says when a build last had it.
	fresh = 24 * time.Hour
)

// mountCaches are the cache mounts of a build as they travel. It is the exec.Caches of its steps: of a mount that this machine
// has none of, the first step that runs with it brings what an imported cache has, and at the end those that --cache-to names
// are sent.
type mountCaches struct {
	build *build

	mu      sync.Mutex
	sources []mountSource
	seen    []packed.Name // in the order in which steps were come to
}

// mountSource is an imported cache that has mounts.
type mountSource struct {
	name   string
	wanted places.Mounts
	keeper packed.Keeper
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
		c.sources = append(c.sources, mountSource{source.Name, wanted, keeper})
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
			c.build.warn(fmt.Sprintf("no cache mount %s from %s: %v", shownID(name), s.name, err))
		}
	}
	return false
}

func (c *mountCaches) restore(ctx context.Context, s mountSource, doc *packed.Document, dir string) (err error) {
	p := c.build.beginPhase(fmt.Sprintf("restore cache mount %s from %s", shownID(doc.Mount), s.name))
	defer func() { p.end(err) }()
	temp, err := c.build.store.Temp("mount")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	made := filepath.Join(temp, "fs")
	if err := os.Mkdir(made, 0o755); err != nil {
		return err
	}
	if err := packed.Restore(ctx, s.keeper, doc, temp, made); err != nil {
		return c.build.store.Explain(err)
	}
	if err := os.Remove(dir); err != nil {
		return err
	}
	if err := os.Rename(made, dir); err != nil {
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
		case stays(err):
			c.build.warn(fmt.Sprintf("the cache mount %s is not sent to %s: %v", shownID(name), spec.Ref, err))
		case err != nil:
			return fmt.Errorf("the cache mount %s: %w", shownID(name), err)
		}
	}
	return nil
}

// stays says of an error that it is no failure: what the place has of the mount stays.
func stays(err error) bool {
	return errors.Is(err, store.ErrCacheMountInUse) || errors.Is(err, packed.ErrChanged) ||
		errors.Is(err, packed.ErrTooLarge) || errors.Is(err, packed.ErrUnfit)
}

// sendMount sends a mount. Nobody uses it as long as it is read, which is while nothing is asked of the place.
func (c *mountCaches) sendMount(ctx context.Context, name packed.Name, spec places.Spec, keeper packed.Keeper) (err error) {
	sent, err := c.sent(ctx, name)
	if err != nil {
		return err
	}
	p := c.build.beginPhase(fmt.Sprintf("export cache mount %s to %s", shownID(name), spec.Ref))
	defer func() {
		if stays(err) {
			p.end(nil)
		} else {
			p.end(err)
		}
	}()
	doc, version, err := keeper.Mount(ctx, name)
	if errors.Is(err, packed.ErrNone) {
		doc = nil
	} else if err != nil {
		return err
	}
	if doc != nil && string(doc.List.Digest) == sent {
		if err := c.touch(ctx, keeper, doc, version); err == nil || ctx.Err() != nil {
			return err
		}
		// Something of it is gone there.
	}
	var before *packed.Previous
	if doc != nil {
		if before, err = packed.ReadPrevious(ctx, keeper, doc); err != nil && ctx.Err() != nil {
			return err
		} else if err != nil {
			before = nil // all of it is made anew
		}
	}
	temp, err := c.build.store.Temp("mount")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	made, reading, err := c.make(ctx, name, spec, temp, before)
	if err != nil {
		return err
	}
	if doc != nil && made.Document.Same(doc) {
		reading.SetSent(string(doc.List.Digest))
		return c.touch(ctx, keeper, doc, version)
	}
	expect := &version
	if doc == nil && version == "" {
		expect = nil
	}
	if err := keeper.PutMount(ctx, &made.Document, made.New, expect); err != nil {
		return err
	}
	reading.SetSent(string(made.Document.List.Digest))
	p.say("%d files, %s; %s moved", made.Document.Files, human.Size(made.Document.Bytes), human.Size(made.Size()))
	return nil
}

// read reads a mount as a whole.
func (c *mountCaches) read(ctx context.Context, name packed.Name) (*store.CacheMountReading, error) {
	return c.build.store.Mounts.Read(ctx, store.CacheMountOptions{ID: name.ID, Base: name.Base}, mountPatience)
}

// sent is the digest of the list that was sent of a mount as it is now, "" where it was used since; store.ErrNoCacheMount where
// there is no such mount.
func (c *mountCaches) sent(ctx context.Context, name packed.Name) (string, error) {
	reading, err := c.read(ctx, name)
	if err != nil {
		return "", err
	}
	return reading.Sent(), reading.Close()
}

// make makes what is sent of a mount: a copy, in the folder temp. The reading has ended.
func (c *mountCaches) make(ctx context.Context, name packed.Name, spec places.Spec, temp string, before *packed.Previous) (*packed.Snapshot, *store.CacheMountReading, error) {
	reading, err := c.read(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	made, err := packed.Make(ctx, name, packed.Source{Dir: reading.Dir, Limit: spec.MountsLimit()}, temp, before)
	return made, reading, errors.Join(c.build.store.Explain(err), reading.Close())
}

// touch writes a document anew that has not been for a while, so that it does not count as old.
func (c *mountCaches) touch(ctx context.Context, keeper packed.Keeper, doc *packed.Document, version string) error {
	if time.Since(doc.Written) < fresh {
		return nil
	}
	again := *doc
	again.Written = time.Now().UTC()
	if err := keeper.PutMount(ctx, &again, nil, &version); !errors.Is(err, packed.ErrChanged) {
		return err
	}
	return nil
}

func (b *build) warn(text string) { b.events.Send(event.Warning{Text: text}) }
