package placetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/transfer"
)

// bucket is to a cache what an object store is: an object for each record, read when somebody asks for it, one for each
// blob, and locations of a scheme of its own.
type bucket struct {
	mu      sync.Mutex
	records map[digest.Digest][]byte
	blobs   map[digest.Digest][]byte
	leases  map[digest.Digest]chan struct{} // closed when it is given back
}

// object is a record as the bucket has it, as JSON behind a line with its digest: the key is that of the parts only.
type object struct {
	Record *cache.Record
	Blob   ocispec.Descriptor
}

func (b *bucket) open(_ context.Context, _ string, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	data, ok := b.blobs[desc.Digest]
	if !ok {
		return nil, fmt.Errorf("no object %s", desc.Digest)
	}
	return io.NopCloser(bytes.NewReader(data[offset:])), nil
}

func (b *bucket) Has(_ context.Context, desc ocispec.Descriptor) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.blobs[desc.Digest]
	return ok, nil
}

func (b *bucket) Write(_ context.Context, desc ocispec.Descriptor, r io.Reader) error {
	data, err := io.ReadAll(r)
	if err == nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.blobs[desc.Digest] = data
	}
	return err
}

// machineBucket is the bucket as a machine sees it.
type machineBucket struct {
	*bucket
	mover *transfer.Mover
}

func (p machineBucket) Get(ctx context.Context, key digest.Digest) (*cache.Record, error) {
	p.mu.Lock()
	data, ok := p.records[key]
	p.mu.Unlock()
	if !ok {
		return nil, cache.ErrNotFound
	}
	var o object
	sum, data, _ := bytes.Cut(data, []byte("\n"))
	if string(sum) != digest.FromBytes(data).String() {
		return nil, fmt.Errorf("%w: it is damaged", cache.ErrNotFound)
	}
	if err := json.Unmarshal(data, &o); err != nil {
		return nil, fmt.Errorf("%w: %w", cache.ErrNotFound, err)
	}
	if err := (cache.Step{Key: key, Record: o.Record}).Check(); err != nil {
		return nil, fmt.Errorf("%w: %w", cache.ErrNotFound, err)
	}
	if o.Record.Layer == "" {
		return o.Record, nil
	}
	return o.Record, p.mover.NoteAt(o.Record.Layer, o.Blob, "bucket:")
}

func (p machineBucket) Put(ctx context.Context, steps []cache.Step) error {
	steps, _, err := places.Sendable(p.mover, steps)
	if err != nil {
		return err
	}
	for _, s := range steps {
		if err := p.put(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (p machineBucket) put(ctx context.Context, s cache.Step) error {
	o := object{Record: s.Record}
	if s.Record.Layer != "" {
		var err error
		if o.Blob, err = p.mover.SendLayer(ctx, s.Record.Layer, p); err != nil {
			return err
		}
	}
	data, err := json.Marshal(o)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.records[s.Key] = append([]byte(digest.FromBytes(data)+"\n"), data...)
	return ctx.Err()
}

func (p machineBucket) Lease(ctx context.Context, key digest.Digest) (func(), error) {
	for {
		p.mu.Lock()
		taken, ok := p.leases[key]
		if !ok {
			mine := make(chan struct{})
			p.leases[key] = mine
			p.mu.Unlock()
			return func() {
				p.mu.Lock()
				delete(p.leases, key)
				p.mu.Unlock()
				close(mine)
			}, nil
		}
		p.mu.Unlock()
		select {
		case <-taken:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func damage(objects map[digest.Digest][]byte) func(*testing.T) {
	return func(*testing.T) {
		for key, data := range objects {
			objects[key] = bytes.Clone(data)
			objects[key][len(data)/2] ^= 1
		}
	}
}

// A place like an object store needs no more than the interface and a source of blobs.
func TestBucket(t *testing.T) {
	Test(t, func(t *testing.T) *Site {
		b := &bucket{
			records: map[digest.Digest][]byte{}, blobs: map[digest.Digest][]byte{}, leases: map[digest.Digest]chan struct{}{},
		}
		return &Site{
			Machine: func(t *testing.T) *transfer.Mover {
				return Machine(t, transfer.BlobSource{Scheme: "bucket", Open: b.open})
			},
			Open: func(t *testing.T, m *transfer.Mover) (cache.Place, error) {
				return machineBucket{b, m}, nil
			},
			DamageLayers:  damage(b.blobs),
			DamageRecords: damage(b.records),
			Merges:        true,
		}
	})
}
