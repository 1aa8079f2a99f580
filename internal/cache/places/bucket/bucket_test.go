package bucket_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/places/bucket"
	"github.com/strata-build/strata/internal/cache/places/placetest"
	"github.com/strata-build/strata/internal/transfer"
)

// memory is an object store in memory, with versions.
type memory struct {
	mu      sync.Mutex
	objects map[string][]byte
	version map[string]int
	puts    int
}

func newMemory() *memory { return &memory{objects: map[string][]byte{}, version: map[string]int{}} }

func (m *memory) info(name string) bucket.Object {
	return bucket.Object{Name: name, Size: int64(len(m.objects[name])), Version: strconv.Itoa(m.version[name]), Modified: time.Unix(int64(m.version[name]), 0)}
}

func (m *memory) Open(_ context.Context, name string, offset int64) (io.ReadCloser, bucket.Object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.objects[name]
	if !ok {
		return nil, bucket.Object{}, bucket.ErrNoObject
	}
	return io.NopCloser(bytes.NewReader(data[offset:])), m.info(name), nil
}

func (m *memory) Stat(_ context.Context, name string) (bucket.Object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.objects[name]; !ok {
		return bucket.Object{}, bucket.ErrNoObject
	}
	return m.info(name), nil
}

func (m *memory) Put(ctx context.Context, name string, _ int64, r io.Reader, expect bucket.Expect) (bucket.Object, error) {
	data, err := io.ReadAll(r)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return bucket.Object{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, there := m.objects[name]
	if expect.Nothing && there || expect.Version != "" && (!there || strconv.Itoa(m.version[name]) != expect.Version) {
		return bucket.Object{}, bucket.ErrChanged
	}
	m.puts++
	m.objects[name] = data
	m.version[name] = m.puts
	return m.info(name), nil
}

func (m *memory) List(_ context.Context, prefix string) iter.Seq2[bucket.Object, error] {
	return func(yield func(bucket.Object, error) bool) {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, name := range slices.Sorted(maps.Keys(m.objects)) {
			if strings.HasPrefix(name, prefix) && !yield(m.info(name), nil) {
				return
			}
		}
	}
}

func (m *memory) Remove(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, name)
	return nil
}

func (m *memory) Location() string { return "memory:" }
func (m *memory) String() string   { return "memory" }

// damage changes a byte in each object whose name begins with one of the prefixes.
func (m *memory) damage(prefixes ...string) func(*testing.T) {
	return func(*testing.T) {
		m.mu.Lock()
		defer m.mu.Unlock()
		for name, data := range m.objects {
			if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
				m.objects[name] = bytes.Clone(data)
				m.objects[name][len(data)/2] ^= 1
			}
		}
	}
}

// source opens the memory's blobs.
func (m *memory) source() transfer.BlobSource {
	return transfer.BlobSource{Scheme: "memory", Open: func(ctx context.Context, location string, _ ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
		_, name, ok := strings.Cut(location, "|")
		if !ok {
			return nil, fmt.Errorf("%q is no location", location)
		}
		r, _, err := m.Open(ctx, name, offset)
		return r, err
	}}
}

func TestPlace(t *testing.T) {
	placetest.Test(t, func(t *testing.T) *placetest.Site {
		m := newMemory()
		return &placetest.Site{
			Machine: func(t *testing.T) *transfer.Mover { return placetest.Machine(t, m.source()) },
			Open: func(_ *testing.T, mover *transfer.Mover) (cache.Place, error) {
				return bucket.New(mover, m, "memory", bucket.Options{Prefix: "a/"}), nil
			},
			DamageLayers: m.damage("a/blobs/"), DamageRecords: m.damage("a/records/", "a/names/", "a/weak/", "a/mounts/"), Merges: true, Shares: true,
		}
	})
}

// What two wrote under one name is all in its list, which a build reads with one request.
func TestList(t *testing.T) {
	m := newMemory()
	var wg sync.WaitGroup
	var all []cache.Step
	for _, name := range []string{"a", "b", "c"} {
		mover := placetest.Machine(t, m.source())
		steps := placetest.Steps(t, mover, name)
		all = append(all, steps...)
		wg.Go(func() {
			if err := bucket.New(mover, m, "memory", bucket.Options{}).Put(t.Context(), steps); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for name := range m.objects {
		if strings.HasPrefix(name, "records/") {
			delete(m.objects, name)
		}
	}
	p := bucket.New(placetest.Machine(t, m.source()), m, "memory", bucket.Options{})
	for _, s := range all {
		if _, err := p.Get(t.Context(), s.Key); err != nil {
			t.Errorf("%s: %v", s.Record.Instruction, err)
		}
	}
	other := bucket.New(placetest.Machine(t, m.source()), m, "memory", bucket.Options{Name: "other"})
	if _, err := other.Get(t.Context(), all[0].Key); !errors.Is(err, cache.ErrNotFound) {
		t.Errorf("another list: %v", err)
	}
}

// Nothing is written where nothing is new.
func TestPutAgainIsCheap(t *testing.T) {
	m := newMemory()
	mover := placetest.Machine(t, m.source())
	steps := placetest.Steps(t, mover, "a")
	p := bucket.New(mover, m, "memory", bucket.Options{})
	for range 2 {
		if err := p.Put(t.Context(), steps); err != nil {
			t.Fatal(err)
		}
	}
	blobs := map[string]int{}
	for name, version := range m.version {
		if strings.HasPrefix(name, "blobs/") {
			blobs[name] = version
		}
	}
	before := maps.Clone(blobs)
	if err := p.Put(t.Context(), steps); err != nil {
		t.Fatal(err)
	}
	for name := range blobs {
		if m.version[name] != before[name] {
			t.Errorf("%s was written again", name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(digest.FromBytes(nil).String()+"\n"), "sha256:"+strings.Repeat("0", 64))
	f.Fuzz(func(t *testing.T, data []byte, key string) {
		m := newMemory()
		m.objects["names/default"], m.objects["records/"+strings.Repeat("0", 64)] = data, data
		p := bucket.New(placetest.Machine(t, m.source()), m, "memory", bucket.Options{})
		if r, err := p.Get(t.Context(), digest.Digest("sha256:"+strings.Repeat("0", 64))); err == nil {
			t.Errorf("a record comes of nothing: %+v", r)
		}
	})
}
