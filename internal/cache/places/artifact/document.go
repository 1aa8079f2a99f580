package artifact

import (
	"context"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/transfer"
)

// Document is a cache that is one document: it is read at once, when it is first asked for a key.
type Document struct {
	read func(context.Context) (*Records, error)

	mu      sync.Mutex
	records *Records // nil until they are read
}

// NewDocument returns the document that read reads.
func NewDocument(read func(context.Context) (*Records, error)) *Document {
	return &Document{read: read}
}

// Load reads the document unless it was read.
func (d *Document) Load(ctx context.Context) (*Records, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.records != nil {
		return d.records, nil
	}
	records, err := d.read(ctx)
	if err == nil {
		d.records = records
	}
	return records, err
}

// Set makes records the document's: they were read otherwise, or, if nil, have to be read anew.
func (d *Document) Set(records *Records) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.records = records
}

// Get returns a copy of the record of a key; cache.ErrNotFound if there is none.
func (d *Document) Get(ctx context.Context, key digest.Digest) (*cache.Record, error) {
	records, err := d.Load(ctx)
	if err != nil {
		return nil, err
	}
	return records.Get(key)
}

// Candidates returns copies of up to limit records with a weak key, those made last first.
func (d *Document) Candidates(ctx context.Context, weak digest.Digest, limit int) ([]*cache.Record, error) {
	records, err := d.Load(ctx)
	if err != nil {
		return nil, err
	}
	return records.Candidates(weak, limit), nil
}

// Locate notes in the store that the layers of records can be had at a location, and those that the cache does not have
// as known: then a step is a hit as long as nothing needs its layer.
func (rs *Records) Locate(m *transfer.Mover, location string) error {
	for _, d := range rs.absent {
		if err := m.Store.AddKnown(d); err != nil {
			return err
		}
	}
	for diffID, desc := range rs.Blobs {
		if err := m.NoteAt(diffID, desc, location); err != nil {
			return err
		}
	}
	return nil
}
