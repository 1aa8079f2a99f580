// Package local is the cache of this machine: the records of its store.
package local

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/store"
)

// Lookup returns the record of a key and notes that it is used; nil if there is none that can be used.
func Lookup(s *store.Store, k *cache.Key) (*cache.Record, error) {
	decode := func(data []byte) (*cache.Record, error) { return cache.DecodeOf(k, data) }
	return lookup(s, k.Digest(), decode)
}

func lookup(s *store.Store, key digest.Digest, decode func([]byte) (*cache.Record, error)) (*cache.Record, error) {
	row, err := s.Record(key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !row.AsSealed() {
		s.Note("the record of a step was damaged and is set aside: " + key.String())
		return nil, nil
	}
	r, err := decode(row.Data)
	if err != nil || r.Layer != row.Layer {
		return nil, nil // from a strata that wrote records differently: as good as none
	}
	return r, nil
}

// Save keeps the record of a key, and gives it the key's kind and parts.
func Save(s *store.Store, k *cache.Key, r *cache.Record) error {
	r.Kind, r.Parts = k.Kind, k.Parts
	data, err := r.Encode()
	if err != nil {
		return err
	}
	return s.PutRecord(row(k, r, data))
}

func row(k *cache.Key, r *cache.Record, data []byte) store.Record {
	key := k.Digest()
	return store.Record{Key: key, Layer: r.Layer, Data: data, Made: r.Created, Text: textOf(k, r.Instruction)}
}

// SaveObserved is Save of a record that says what its step read, so that Candidates finds it.
func SaveObserved(s *store.Store, k *cache.Key, r *cache.Record) error {
	r.Kind, r.Parts = k.Kind, k.Parts
	data, err := r.Encode()
	if err != nil {
		return err
	}
	made := row(k, r, data)
	if r.Observed != nil {
		made.Weak = r.Observed.Weak
	}
	return s.PutRecord(made)
}

// Candidates returns up to limit records of steps with a weak key, those last made or used first.
func Candidates(s *store.Store, weak digest.Digest, limit int) ([]Found, error) {
	rows, err := s.Candidates(weak, limit)
	if err != nil {
		return nil, err
	}
	var all []Found
	for _, row := range rows {
		r, err := cache.Decode(row.Data)
		if err == nil && r.Layer == row.Layer && r.Observed != nil && row.AsSealed() {
			all = append(all, Found{row.Key, r})
		}
	}
	return all, nil
}

// textOf is by what records are found whose instructions say the same. Keys of the two engines have different
// parts and cannot be compared, so they are not alike.
func textOf(k *cache.Key, instruction string) string {
	engine := "graph"
	if len(k.Values(cache.PartAfter)) > 0 {
		engine = "classic"
	}
	return digest.FromString(engine + "\n" + string(k.Kind) + "\n" + instruction).Encoded()[:32]
}

// Peek returns the record of a key without using it: its layer need not be there. nil if there is none.
func Peek(s *store.Store, key digest.Digest) (*cache.Record, error) {
	row, err := s.PeekRecord(key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return cache.Decode(row.Data)
}

// Found is a record and the key that it is under.
type Found struct {
	Key digest.Digest
	*cache.Record
}

// Like returns up to limit records of steps of the same kind, engine and instruction, those made last first.
func Like(s *store.Store, k *cache.Key, instruction string, limit int) ([]Found, error) {
	rows, err := s.RecordsLike(textOf(k, instruction), limit)
	if err != nil {
		return nil, err
	}
	var like []Found
	for _, row := range rows {
		r, err := cache.Decode(row.Data)
		if err != nil {
			return nil, err
		}
		like = append(like, Found{row.Key, r})
	}
	return like, nil
}

// Made returns the record of the step that made a layer at a time, as a history row tells both: nil if it is not
// here. Several steps may have made the same layer, an empty one above all.
func Made(s *store.Store, layer digest.Digest, at time.Time) (*cache.Record, error) {
	rows, err := s.RecordsOf(layer)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		r, err := cache.Decode(row.Data)
		if err == nil && r.Created.Equal(at) {
			return r, nil
		}
	}
	return nil, nil
}

// Place is the records of a store as a cache.Place. The store has the layers already.
type Place struct{ store *store.Store }

// New returns the cache of a store.
func New(s *store.Store) *Place { return &Place{s} }

// Get returns a record and notes that it and its layer are used.
func (p *Place) Get(_ context.Context, key digest.Digest) (*cache.Record, error) {
	r, err := lookup(p.store, key, cache.Decode)
	if err == nil && r == nil {
		err = fmt.Errorf("%s: %w", key, cache.ErrNotFound)
	}
	return r, err
}

// Put keeps records. One whose layer the store does not know is not found afterwards.
func (p *Place) Put(ctx context.Context, steps []cache.Step) error {
	for _, s := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		r := *s.Record
		if err := Save(p.store, &cache.Key{Kind: r.Kind, Parts: r.Parts}, &r); err != nil {
			return err
		}
	}
	return nil
}

// Lease waits until no other build runs the step with a key.
func (p *Place) Lease(ctx context.Context, key digest.Digest) (release func(), err error) {
	return p.store.Lock(ctx, key.Encoded())
}
