package cache

import (
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/image"
)

// Source is a cache from elsewhere: an image, or a cache that was exported. Its layers need not be on this
// machine, but the store knows where they are.
type Source struct {
	// Name is what the person called it: "me/app:1.0.0".
	Name string
	// Image is the config of a source that is an image, nil for an exported cache. Whoever built it, its history rows
	// can be compared with steps.
	Image *image.Config

	records map[digest.Digest]*Record
}

// FromImage makes a source of an image. The records come from the cache in its config; an image without one
// has none.
func FromImage(name string, c *image.Config) *Source {
	s := &Source{Name: name, Image: c, records: map[digest.Digest]*Record{}}
	for _, r := range c.Cached {
		row := c.History[r.Row]
		if row.Created == nil {
			continue
		}
		s.records[r.Key] = &Record{
			Layer:       image.LayerOf(c, r.Row),
			Created:     *row.Created,
			Took:        time.Duration(r.MS) * time.Millisecond,
			Instruction: row.CreatedBy,
			Origin:      name,
		}
	}
	return s
}

// Lookup returns a copy of the record of a key; nil if there is none.
func (s *Source) Lookup(key digest.Digest) *Record {
	r := s.records[key]
	if r == nil {
		return nil
	}
	c := *r
	return &c
}

// Len is the number of records.
func (s *Source) Len() int { return len(s.records) }
