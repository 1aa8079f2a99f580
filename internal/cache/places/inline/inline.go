// Package inline is the cache in an image's config: a key for each step of the image, and a record without its layer for
// each step of the other stages, in fields that other tools pass over. The build writes it as it makes the config, so nothing is put there later.
package inline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store"
)

// Kind is type=inline: the cache in the image that is built.
var Kind = places.Kind{
	Type:    "inline",
	To:      places.Options(),
	NotFrom: "an inline cache is in an image: name that image, --cache-from NAME",
}

// Open makes a source of an image in the store; cache.ErrNotFound if none there has the name and is for the platform.
func Open(s *store.Store, name string, want ocispec.Platform) (*cache.Source, error) {
	id, err := s.ResolveFor(name, want)
	var other *store.PlatformError
	if errors.Is(err, store.ErrNotFound) || errors.As(err, &other) && other.ID == "" {
		return nil, fmt.Errorf("%w: %w", cache.ErrNotFound, err)
	}
	if err != nil {
		return nil, err
	}
	if err := s.Touch(id); err != nil {
		return nil, err
	}
	stored, err := s.Config(id)
	if err != nil {
		return nil, err
	}
	c, err := image.Parse(stored.Data)
	if err != nil {
		return nil, err
	}
	return Source(s, name, c)
}

// Source makes a source of an image's config. The store knows where the image's layers can be had, and gets to know the
// diffIDs of the other stages' layers. An image without the cache has no records, and still the history that third-party
// images are compared by.
func Source(s *store.Store, name string, c *image.Config) (*cache.Source, error) {
	for _, step := range c.Stages {
		if step.Layer == "" {
			continue
		}
		if err := s.AddKnown(step.Layer); err != nil {
			return nil, err
		}
	}
	return &cache.Source{Name: name, Image: c, Place: New(name, c)}, nil
}

// Place is the cache in an image's config.
type Place struct {
	records map[digest.Digest]*cache.Record
	byWeak  map[digest.Digest][]*cache.Record
}

// New reads the cache in a config. name is what the person calls the image.
func New(name string, c *image.Config) *Place {
	p := &Place{map[digest.Digest]*cache.Record{}, map[digest.Digest][]*cache.Record{}}
	if len(c.Cached)+len(c.Stages) > 0 && c.History[0].EmptyLayer && c.History[0].Created != nil {
		// A row before the first layer has the time of FROM scratch.
		began := cache.Record{Created: *c.History[0].Created, Origin: name}
		p.records[(&cache.Key{Kind: cache.KindScratch}).Digest()] = &began
	}
	for _, s := range c.Stages {
		p.records[s.Key] = &cache.Record{
			Layer: s.Layer, Selected: s.Selected, Created: s.Created, Took: time.Duration(s.MS) * time.Millisecond, Origin: name,
		}
	}
	for _, r := range c.Cached {
		row := c.History[r.Row]
		if row.Created == nil {
			continue
		}
		made := &cache.Record{
			Layer:       image.LayerOf(c, r.Row),
			Created:     *row.Created,
			Took:        time.Duration(r.MS) * time.Millisecond,
			Instruction: row.CreatedBy,
			Origin:      name,
		}
		if r.Weak != "" {
			made.Observed = &cache.Observed{Weak: r.Weak, Data: r.Inputs}
			p.byWeak[r.Weak] = append(p.byWeak[r.Weak], made)
		}
		p.records[r.Key] = made
	}
	return p
}

// Get returns what the image's history says of the step with a key.
func (p *Place) Get(_ context.Context, key digest.Digest) (*cache.Record, error) {
	r, ok := p.records[key]
	if !ok {
		return nil, fmt.Errorf("%s: %w", key, cache.ErrNotFound)
	}
	c := *r
	return &c, nil
}

// Candidates returns what the image's history says of the steps with a weak key.
func (p *Place) Candidates(_ context.Context, weak digest.Digest, limit int) ([]*cache.Record, error) {
	var found []*cache.Record
	for _, r := range p.byWeak[weak] {
		if len(found) < limit {
			c := *r
			found = append(found, &c)
		}
	}
	return found, nil
}

// Put returns cache.ErrReadOnly: the build writes the cache as it makes the image.
func (p *Place) Put(context.Context, []cache.Step) error { return cache.ErrReadOnly }
