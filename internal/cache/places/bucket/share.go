package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/lease"
)

// Watcher is Objects that can tell when an object changes.
type Watcher interface {
	// Wait returns when an object may be another than a version, or gone, at the latest after a while.
	Wait(ctx context.Context, name, version string, most time.Duration) error
}

// Where implements cache.Sharer.
func (p *Place) Where() string { return p.objects.Location() + "|" + p.o.Prefix }

// Claim implements cache.Sharer by leases: objects "leases/<key>", each written again every few seconds while its
// step runs.
func (p *Place) Claim(ctx context.Context, key digest.Digest, follow cache.Follow) (cache.Claim, error) {
	l, err := p.leases().Take(ctx, p.name("leases", key.Encoded()), follow)
	if errors.Is(err, cache.ErrEnded) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("sharing the steps of a build by %s: %w", p.title, err)
	}
	return &claim{l, p}, nil
}

func (p *Place) leases() *lease.Table {
	host, err := os.Hostname()
	if err != nil {
		host = "another machine"
	}
	return lease.New(cells{p.objects}, host, p.o.Leases)
}

// claim is a step that this machine runs.
type claim struct {
	*lease.Lease
	place *Place
}

// Share implements cache.Claim.
func (c *claim) Share(ctx context.Context, s cache.Step) error {
	defer c.Finish(ctx)
	trouble := cache.NewPatience(c.place.o.Leases.PatienceOr())
	for {
		err := c.place.share(ctx, s)
		if err == nil {
			return nil
		}
		if err := trouble.Pause(ctx, err); err != nil {
			return err
		}
	}
}

// share writes a step for those who wait for it: its layer, and then its record. The list of the cache's name is
// written by Put, once for all steps of a build.
func (p *Place) share(ctx context.Context, s cache.Step) error {
	o := &object{Key: s.Key, Record: s.Record}
	if s.Record.Layer != "" {
		desc, err := p.SendLayer(ctx, s.Record.Layer)
		if err != nil {
			return fmt.Errorf("sending a layer to %s: %w", p.title, err)
		}
		o.Blob = &desc
	}
	if err := p.putRecord(ctx, o); err != nil {
		return fmt.Errorf("writing a record to %s: %w", p.title, err)
	}
	return p.addWeak(ctx, o)
}

// addWeak puts a record among those of its weak key.
func (p *Place) addWeak(ctx context.Context, o *object) error {
	if o.Record.Observed == nil || o.Record.Observed.Weak == "" {
		return nil
	}
	return p.addTo(ctx, p.name("weak", o.Record.Observed.Weak.Encoded()), []*object{o}, maxWeak)
}

// cells keeps leases as objects.
type cells struct{ objects Objects }

// maxLease bounds the bytes of a lease that are read.
const maxLease = 64 << 10

// errNoVersions says that leases cannot be kept in a store.
var errNoVersions = fmt.Errorf("%w: its objects have no versions, so that machines cannot agree who runs a step; say lease=false", lease.ErrUnfit)

// Read implements lease.Cells.
func (c cells) Read(ctx context.Context, name string) ([]byte, string, error) {
	r, info, err := c.objects.Open(ctx, name, 0)
	if errors.Is(err, ErrNoObject) {
		return nil, "", lease.ErrNone
	}
	if err != nil {
		return nil, "", err
	}
	defer r.Close()
	if info.Version == "" {
		return nil, "", errNoVersions
	}
	data, err := readAll(r, maxLease)
	return data, info.Version, err
}

// Write implements lease.Cells.
func (c cells) Write(ctx context.Context, name string, value []byte, version string) (string, error) {
	made, err := c.objects.Put(ctx, name, int64(len(value)), bytes.NewReader(value), Expect{Version: version, Nothing: version == ""})
	switch {
	case errors.Is(err, ErrChanged), errors.Is(err, ErrNoObject):
		return "", lease.ErrChanged
	case err == nil && made.Version == "":
		return "", errNoVersions
	}
	return made.Version, err
}

// Remove implements lease.Cells.
func (c cells) Remove(ctx context.Context, name, version string) error {
	there, err := c.objects.Stat(ctx, name)
	if errors.Is(err, ErrNoObject) || err == nil && there.Version != version {
		return nil
	}
	if err != nil {
		return err
	}
	return c.objects.Remove(ctx, name)
}

// poll is how often a store is asked that cannot tell by itself that an object has changed.
const poll = 300 * time.Millisecond

// Wait implements lease.Cells.
func (c cells) Wait(ctx context.Context, name, version string, most time.Duration) error {
	if w, ok := c.objects.(Watcher); ok {
		return w.Wait(ctx, name, version, most)
	}
	return pause(ctx, min(most, poll))
}
