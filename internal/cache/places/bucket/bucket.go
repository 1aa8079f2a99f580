// Package bucket is a cache in an object store: an object for each record, which is read when somebody asks for its key,
// and one for each layer. Many write at once, and nobody's records are lost.
//
//	records/<key>     the record of a key, and where its layer is
//	weak/<weak key>   the records that have a weak key, by which observed inputs are found (docs/observed.md)
//	names/<name>      the records of the last builds that wrote under a name, so that a build reads one object and not one
//	                  for each step; it is a copy, and may lack what others wrote meanwhile
//	leases/<key>      who runs the step of a key just now
//	blobs/<digest>    a compressed layer
//
// Names of objects are below the prefix that the person gave. Each record and list begins with a line that has the
// digest of the rest, which is JSON, compressed with zstd. What a kind of store needs beside this package is an implementation of Objects.
package bucket

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/lease"
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/transfer"
)

// Limits.
const (
	maxRecord = 4 << 20  // bytes of a record: observed inputs are bounded to less (docs/observed.md)
	maxList   = 64 << 20 // bytes of a list of records
	// maxNamed is how many records a name keeps: those of some twenty builds of a large Dockerfile.
	maxNamed = 2000
	// maxWeak is how many records a weak key keeps; a build tries fewer.
	maxWeak  = 16
	attempts = 8 // to write a list beside others that do
)

// Options say which part of a store a cache is.
type Options struct {
	Prefix  string // of all objects: "", or it ends in a slash
	Blobs   string // of layers, below the prefix; "" is "blobs/"
	Name    string // of the list of records that this build reads and writes; "" is "default"
	Uploads int    // how many layers are sent at once; 0 is 4
	Leases  lease.Options
	// Depot has the layers, where they are not among the objects.
	Depot places.Depot
}

// Place is a cache in an object store.
type Place struct {
	objects Objects
	mover   *transfer.Mover
	title   string // what the person called it
	o       Options

	mu    sync.Mutex
	named map[digest.Digest]*object // of the list; nil until it was read
	sent  map[digest.Digest]*sending
}

// object is a record as the store has it.
type object struct {
	Key    digest.Digest `json:"key"`
	Record *cache.Record `json:"record"`
	// Blob is the compressed layer; its zero value if the cache has only the record.
	Blob *ocispec.Descriptor `json:"blob,omitempty"`
}

// New returns the cache of a store. It asks nobody anything.
func New(m *transfer.Mover, objects Objects, title string, o Options) *Place {
	o.Blobs, o.Name, o.Uploads = cmp.Or(o.Blobs, "blobs/"), cmp.Or(o.Name, "default"), cmp.Or(o.Uploads, 4)
	return &Place{objects: objects, mover: m, title: title, o: o, sent: map[digest.Digest]*sending{}}
}

// Load reads the list of the cache's name: an error says that the store cannot be read. One that has nothing yet is as
// good as any.
func (p *Place) Load(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.named != nil {
		return nil
	}
	list, _, err := p.readList(ctx, p.name("names", p.o.Name))
	if err != nil {
		return err
	}
	p.named = map[digest.Digest]*object{}
	for _, o := range list {
		p.named[o.Key] = o
	}
	return nil
}

func (p *Place) name(kind, rest string) string { return p.o.Prefix + kind + "/" + rest }

func (p *Place) recordName(key digest.Digest) string { return p.name("records", key.Encoded()) }

// blobName is the object of a layer.
func (o *Options) blobName(d digest.Digest) string { return o.Prefix + o.Blobs + d.String() }

// Get implements cache.Place.
func (p *Place) Get(ctx context.Context, key digest.Digest) (*cache.Record, error) {
	if err := p.Load(ctx); err != nil {
		return nil, err
	}
	p.mu.Lock()
	o := p.named[key]
	p.mu.Unlock()
	if o == nil {
		data, err := p.read(ctx, p.recordName(key), maxRecord)
		if errors.Is(err, ErrNoObject) {
			return nil, fmt.Errorf("%s: %w", key, cache.ErrNotFound)
		}
		if err != nil {
			return nil, err
		}
		o = &object{}
		if err := decode(data, o); err != nil || o.Key != key || !o.sound() {
			return nil, fmt.Errorf("%s: %w: it is damaged", key, cache.ErrNotFound)
		}
	}
	return p.locate(o)
}

// sound says whether an object can be trusted.
func (o *object) sound() bool {
	return o.Record != nil && (cache.Step{Key: o.Key, Record: o.Record}).Check() == nil && (o.Blob == nil || o.Blob.Digest.Validate() == nil)
}

// locate gives a copy of an object's record, and notes where its layer can be had.
func (p *Place) locate(o *object) (*cache.Record, error) {
	r := *o.Record
	r.Origin = p.title
	switch {
	case r.Layer == "":
		return &r, nil
	case o.Blob == nil:
		return &r, p.mover.Store.AddKnown(r.Layer)
	}
	return &r, p.NoteLayer(r.Layer, *o.Blob)
}

// NoteLayer implements places.Depot.
func (p *Place) NoteLayer(diffID digest.Digest, desc ocispec.Descriptor) error {
	if p.o.Depot != nil {
		return p.o.Depot.NoteLayer(diffID, desc)
	}
	return p.mover.NoteAt(diffID, desc, p.objects.Location()+"|"+p.o.blobName(desc.Digest))
}

// SendLayer implements places.Depot.
func (p *Place) SendLayer(ctx context.Context, diffID digest.Digest) (ocispec.Descriptor, error) {
	if p.o.Depot != nil {
		return p.o.Depot.SendLayer(ctx, diffID)
	}
	return p.mover.SendLayer(ctx, diffID, layer.Zstd, target{p})
}

// Candidates implements cache.Observer.
func (p *Place) Candidates(ctx context.Context, weak digest.Digest, limit int) ([]*cache.Record, error) {
	if err := p.Load(ctx); err != nil {
		return nil, err
	}
	list, _, err := p.readList(ctx, p.name("weak", weak.Encoded()))
	if err != nil {
		return nil, err
	}
	var found []*cache.Record
	for _, o := range list {
		if o.Record.Observed == nil || o.Record.Observed.Weak != weak {
			continue
		}
		r, err := p.locate(o)
		if err != nil {
			return nil, err
		}
		if found = append(found, r); len(found) == limit {
			break
		}
	}
	return found, nil
}

// Put implements cache.Place: layers and records of several steps at a time, each record after its layer, and then the
// lists.
func (p *Place) Put(ctx context.Context, steps []cache.Step) error {
	steps, _, err := places.Sendable(p.mover, steps)
	if err != nil {
		return err
	}
	written := make([]*object, len(steps))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(p.o.Uploads)
	for i, s := range steps {
		g.Go(func() error {
			o := &object{Key: s.Key, Record: s.Record}
			if s.Record.Layer != "" && !s.KeyOnly {
				desc, err := p.sendOnce(gctx, s.Record.Layer)
				if err != nil {
					return err
				}
				o.Blob = &desc
			}
			written[i] = o
			return p.putRecord(gctx, o)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, o := range written {
		if err := p.addWeak(ctx, o); err != nil {
			return err
		}
	}
	p.mu.Lock()
	p.named = nil
	p.mu.Unlock()
	return p.addTo(ctx, p.name("names", p.o.Name), written, maxNamed)
}

// putRecord writes a record, unless there is one that is as good.
func (p *Place) putRecord(ctx context.Context, o *object) error {
	data, err := encode(o)
	if err != nil {
		return err
	}
	name := p.recordName(o.Key)
	if o.Blob == nil && o.Record.Layer != "" {
		// A record with its layer is better than one without.
		_, err := p.objects.Put(ctx, name, int64(len(data)), bytes.NewReader(data), Expect{Nothing: true})
		if errors.Is(err, ErrChanged) {
			return nil
		}
		return err
	}
	_, err = p.objects.Put(ctx, name, int64(len(data)), bytes.NewReader(data), Expect{})
	return err
}

// addTo puts objects at the head of a list, whatever others write meanwhile: each writes the list that it has read only
// where nobody did so since. Where the store does not know versions, or many write at once, the last one's list stays,
// which lacks others' records; they are found under their keys all the same.
func (p *Place) addTo(ctx context.Context, name string, head []*object, most int) error {
	for attempt := range attempts {
		list, version, err := p.readList(ctx, name)
		if err != nil {
			return err
		}
		merged := merge(head, list, most)
		if slices.EqualFunc(merged, list, func(a, b *object) bool { return a.Key == b.Key && a.Record.Layer == b.Record.Layer }) {
			return nil
		}
		data, err := encode(merged)
		if err != nil {
			return err
		}
		expect := Expect{Version: version, Nothing: version == ""}
		if attempt == attempts-1 {
			expect = Expect{}
		}
		err = p.replace(ctx, name, data, expect)
		if !errors.Is(err, ErrChanged) {
			return err
		}
		if err := pause(ctx, time.Duration(attempt+1)*10*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// replace writes an object on a condition. One that was removed since it was read has changed, for which stores answer that there
// is none.
func (p *Place) replace(ctx context.Context, name string, data []byte, expect Expect) error {
	_, err := p.objects.Put(ctx, name, int64(len(data)), bytes.NewReader(data), expect)
	if expect.Version != "" && errors.Is(err, ErrNoObject) {
		return fmt.Errorf("%w: %w", ErrChanged, err)
	}
	return err
}

// pause waits, with some disorder so that two who are in each other's way part.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d + time.Duration(time.Now().Nanosecond()%int(d))):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// merge is head followed by what else is in list, of each key the first, and no more than most.
func merge(head, list []*object, most int) []*object {
	seen := map[digest.Digest]bool{}
	var all []*object
	for _, o := range slices.Concat(head, list) {
		if !seen[o.Key] && len(all) < most {
			seen[o.Key] = true
			all = append(all, o)
		}
	}
	return all
}

// readList reads a list, and which version of it that is; nil where there is none. Objects that cannot be trusted are
// passed over, and a list that is damaged counts as empty: it is only a copy.
func (p *Place) readList(ctx context.Context, name string) ([]*object, string, error) {
	r, info, err := p.objects.Open(ctx, name, 0)
	if errors.Is(err, ErrNoObject) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("reading %s of %s: %w", name, p.title, err)
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxList+1))
	if err != nil {
		return nil, "", fmt.Errorf("reading %s of %s: %w", name, p.title, err)
	}
	var list []*object
	if len(data) > maxList || decode(data, &list) != nil {
		return nil, info.Version, nil
	}
	return slices.DeleteFunc(list, func(o *object) bool { return o == nil || !o.sound() }), info.Version, nil
}

// read reads a small object.
func (p *Place) read(ctx context.Context, name string, limit int64) ([]byte, error) {
	r, _, err := p.objects.Open(ctx, name, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := readAll(r, limit)
	if err != nil {
		return nil, fmt.Errorf("reading %s of %s: %w", name, p.title, err)
	}
	return data, nil
}

// readAll reads up to limit bytes; more are an error.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("it is larger than the %d bytes that are allowed", limit)
	}
	return data, err
}

// encode is a value as JSON, compressed, behind a line with the digest of that.
func encode(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("writing the cache: %w", err)
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("writing the cache: %w", err)
	}
	data = z.EncodeAll(data, nil)
	return append([]byte(digest.FromBytes(data)+"\n"), data...), nil
}

// decode reads what encode wrote; an error if it was changed since, or is larger than any record or list.
func decode(data []byte, v any) error {
	sum, rest, _ := bytes.Cut(data, []byte("\n"))
	if string(sum) != digest.FromBytes(rest).String() {
		return errors.New("it is damaged")
	}
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxList))
	if err != nil {
		return err
	}
	defer z.Close()
	if rest, err = z.DecodeAll(rest, nil); err != nil {
		return err
	}
	return json.Unmarshal(rest, v)
}

// target is the store's layers, as SendLayer writes them.
type target struct{ *Place }

// Has implements transfer.BlobTarget.
func (t target) Has(ctx context.Context, desc ocispec.Descriptor) (bool, error) {
	o, err := t.objects.Stat(ctx, t.o.blobName(desc.Digest))
	if errors.Is(err, ErrNoObject) {
		return false, nil
	}
	return err == nil && o.Size == desc.Size, err
}

// Write implements transfer.BlobTarget.
func (t target) Write(ctx context.Context, desc ocispec.Descriptor, r io.Reader) error {
	_, err := t.objects.Put(ctx, t.o.blobName(desc.Digest), desc.Size, r, Expect{})
	return err
}

// Receive implements cache.Receiver.
func (p *Place) Receive(ctx context.Context, diffID digest.Digest) error {
	_, err := p.sendOnce(ctx, diffID)
	return err
}

// sending is a layer on its way.
type sending struct {
	done chan struct{}
	desc ocispec.Descriptor
	err  error
}

// sendOnce sends a layer once, however many steps have it. One that could not be sent is tried again by who asks next.
func (p *Place) sendOnce(ctx context.Context, diffID digest.Digest) (ocispec.Descriptor, error) {
	p.mu.Lock()
	s := p.sent[diffID]
	if s != nil {
		p.mu.Unlock()
		<-s.done
		return s.desc, s.err
	}
	s = &sending{done: make(chan struct{})}
	p.sent[diffID] = s
	p.mu.Unlock()
	if s.desc, s.err = p.SendLayer(ctx, diffID); s.err != nil {
		p.mu.Lock()
		delete(p.sent, diffID)
		p.mu.Unlock()
	}
	close(s.done)
	return s.desc, s.err
}
