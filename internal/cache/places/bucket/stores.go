package bucket

import (
	"context"
	"io"
	"slices"
	"sync"
)

// maxOpened is how many stores of one location are kept.
const maxOpened = 8

// Stores are the stores that a process has opened, by their location, which has no credentials: a layer is fetched with those that
// a person gave for its place. One place may be opened with several, of which one may read and another may not. The zero value is
// empty.
type Stores struct {
	mu     sync.Mutex
	stores map[string][]opened // the last one first
}

type opened struct {
	credentials string
	objects     Objects
}

// Add notes a store. One that was opened with the same credentials before is forgotten.
func (o *Stores) Add(location, credentials string, objects Objects) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stores == nil {
		o.stores = map[string][]opened{}
	}
	all := []opened{{credentials, objects}}
	for _, other := range o.stores[location] {
		if other.credentials != credentials && len(all) < maxOpened {
			all = append(all, other)
		}
	}
	o.stores[location] = all
}

// Open opens an object from a byte on, by the first store of a location that can. Where none was opened, open opens one. The error
// is that of the store that was opened last.
func (o *Stores) Open(ctx context.Context, location, name string, offset int64, open func() (Objects, error)) (io.ReadCloser, error) {
	o.mu.Lock()
	all := slices.Clone(o.stores[location])
	o.mu.Unlock()
	if len(all) == 0 {
		s, err := open()
		if err != nil {
			return nil, err
		}
		all = []opened{{"", s}}
	}
	var first error
	for _, one := range all {
		r, _, err := one.objects.Open(ctx, name, offset)
		if err == nil {
			return r, nil
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, first
}
