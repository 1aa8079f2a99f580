package layer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// OpenFunc opens the contents of a File entry.
type OpenFunc func(context.Context, *Entry) (io.ReadCloser, error)

// The shape of the pipeline that turns a TOC into a tar: readers fill chunks with headers and
// contents, each for a run of entries, and one writer takes the chunks in order while one hasher
// sums them. Memory is at most readers*chunksEach*chunkSize = 12 MiB, whatever the layer's size.
const (
	chunkSize  = 1 << 20
	chunksEach = 3
	readers    = 4
	tarTrailer = 1024 // two zero blocks end a tar
)

// Tar says what is known of a layer's tar when it has been written.
type Tar struct {
	DiffID digest.Digest // sha256 of all of it
	Size   int64         // its length in bytes
	// TOC is the one that was written, with the Offset and the Digest of every file; nil of an Encoded.
	TOC *TOC
	// Encoded is that of a tar that was made of one.
	Encoded *Encoded
	// Midstates are those of a tar that was written to a file; nil where Go's SHA-256 cannot be kept.
	Midstates *Midstates
	// Delta says which bytes are in another tar; nil of a tar that is in one file.
	Delta *TarDelta
}

// WriteTar writes the canonical tar of t to w: the same bytes for the same TOC and contents, on
// every machine. Contents that are not exactly Size bytes long are an error. Neither this function
// nor the next two change t or its entries, which others may be reading; open gets the entries of
// t.
func WriteTar(ctx context.Context, w io.Writer, t *TOC, open OpenFunc) error {
	_, err := writeTar(ctx, tarSinks{w: w}, t.runs, &origin{open: open})
	return err
}

// WriteTarFile is WriteTar into a file, at its current position, and says what was written.
func WriteTarFile(ctx context.Context, f *os.File, t *TOC, open OpenFunc) (*Tar, error) {
	sum := newTarSum()
	described := t.clone()
	size, err := writeTar(ctx, tarSinks{w: NewBehind(f, 0), hash: sum, toc: described}, t.runs, &origin{open: open})
	if err != nil {
		return nil, err
	}
	made := &Tar{Size: size, TOC: described}
	made.DiffID, made.Midstates = sum.end()
	return made, nil
}

// WriteEncodedTarFile is WriteTarFile of a table of which only those entries are decoded that are being written.
func WriteEncodedTarFile(ctx context.Context, f *os.File, t Table, open OpenFunc) (*Tar, error) {
	sum := newTarSum()
	to := tarSinks{w: NewBehind(f, 0), hash: sum, encoded: NewEncoded(TempFile(filepath.Dir(f.Name())))}
	runs := func(_ []*Entry, yield func(*run) error) error { return tableRuns(t, yield) }
	size, err := writeTar(ctx, to, runs, &origin{open: open})
	if err != nil {
		return nil, err
	}
	made := &Tar{Size: size, Encoded: to.encoded}
	made.DiffID, made.Midstates = sum.end()
	return made, nil
}

// HashTar says what WriteTar would write.
func HashTar(ctx context.Context, t *TOC, open OpenFunc) (*Tar, error) {
	h := sha256.New()
	described := t.clone()
	size, err := writeTar(ctx, tarSinks{hash: h, toc: described}, t.runs, &origin{open: open})
	if err != nil {
		return nil, err
	}
	return &Tar{DiffID: digest.NewDigest(digest.SHA256, h), Size: size, TOC: described}, nil
}

// hashEncoded is HashTar of a table of which only those entries are decoded that are being read; described gets them.
func hashEncoded(ctx context.Context, t Table, described *Encoded, open OpenFunc) (*Tar, error) {
	h := sha256.New()
	runs := func(_ []*Entry, yield func(*run) error) error { return tableRuns(t, yield) }
	size, err := writeTar(ctx, tarSinks{hash: h, encoded: described}, runs, &origin{open: open})
	if err != nil {
		return nil, err
	}
	return &Tar{DiffID: digest.NewDigest(digest.SHA256, h), Size: size, Encoded: described}, nil
}

// clone copies a TOC with its entries; attributes are shared.
func (t *TOC) clone() *TOC {
	entries := make([]Entry, len(t.Entries))
	c := &TOC{Entries: make([]*Entry, len(t.Entries))}
	for i, e := range t.Entries {
		entries[i] = *e
		c.Entries[i] = &entries[i]
	}
	return c
}

// tarSinks are what a tar is written to; each may be nil.
type tarSinks struct {
	w    io.Writer
	hash io.Writer
	toc  *TOC // a copy of the one that is written, whose entries get their offsets and digests
	// delta gets to know what is copied out of a base; then w gets the other bytes only.
	delta *TarDelta
	// encoded gets the entries with their offsets and digests.
	encoded *Encoded
	// hashed is how many bytes hash knows already.
	hashed int64
}

// origin is where the bytes of a tar come from.
type origin struct {
	open    OpenFunc // of files
	earlier *Earlier // may be nil
}

// chunk is a piece of the tar stream.
type chunk struct {
	buf    []byte
	from   int         // where in buf the bytes begin that are meant
	starts []start     // files whose contents begin in this chunk
	home   chan *chunk // where it goes when writer and hasher are done with it
	users  atomic.Int32
}

// start is where in a chunk the contents of a file begin; to is the entry that gets to know.
type start struct {
	to *Entry
	at int
}

func (c *chunk) release() {
	if c.users.Add(-1) == 0 {
		c.home <- c
	}
}

// run is a part of the TOC that one reader turns into chunks, or of an earlier tar.
type run struct {
	entries   []*Entry
	described []*Entry // those that get to know their offsets and digests: of tarSinks.toc or the run's own; nil for none
	from, to  int64    // what part of the earlier tar, if there are no entries
	moved     *slab    // entries of that part, of which files have offsets that count from where the run begins; nil for none
	based     *based   // where the base of the tar has the bytes, which are not written then; nil of others
	out       chan *chunk
}

// based says where a base has the bytes of a run of an earlier tar.
type based struct {
	from   int64
	unread bool // nobody has to see the bytes either: they are hashed already
}

// runsFunc gives the runs of a tar one after the other; described are the entries of tarSinks.toc, nil without one.
type runsFunc func(described []*Entry, yield func(*run) error) error

var chunkPool = sync.OnceValue(func() *sync.Pool {
	return &sync.Pool{New: func() any { return &chunk{buf: make([]byte, 0, chunkSize)} }}
})

// writeTar writes the tar of t and returns its length.
func writeTar(ctx context.Context, to tarSinks, runs runsFunc, from *origin) (int64, error) {
	g, ctx := errgroup.WithContext(ctx)
	work := make(chan *run)
	order := make(chan *run, 2*readers)
	g.Go(func() error { return planRuns(ctx, runs, to.toc, order, work) })
	for range readers {
		g.Go(func() error { return readRuns(ctx, work, from) })
	}
	var sums chan *chunk
	if to.hash != nil {
		sums = make(chan *chunk, readers*chunksEach)
		g.Go(func() error {
			for c := range sums {
				to.hash.Write(c.buf[c.from:])
				c.release()
			}
			return nil
		})
	}
	var size int64
	g.Go(func() error {
		if sums != nil {
			defer close(sums)
		}
		var err error
		size, err = drainRuns(ctx, order, to, sums)
		return err
	})
	if err := g.Wait(); err != nil {
		return 0, err
	}
	trailer := make([]byte, tarTrailer)
	if to.hash != nil {
		to.hash.Write(trailer)
	}
	if to.w != nil {
		if _, err := to.w.Write(trailer); err != nil {
			return 0, fmt.Errorf("writing layer: %w", err)
		}
	}
	return size + tarTrailer, nil
}

// planRuns hands out the runs of a tar.
func planRuns(ctx context.Context, runs runsFunc, toc *TOC, order, work chan<- *run) error {
	defer close(order)
	defer close(work)
	var described []*Entry
	if toc != nil {
		described = toc.Entries
	}
	return runs(described, func(r *run) error {
		r.out = make(chan *chunk, 1)
		for _, to := range []chan<- *run{order, work} {
			select {
			case to <- r:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
}

// runs are those of a TOC.
func (t *TOC) runs(described []*Entry, yield func(*run) error) error {
	return entryRuns(t.Entries, described, yield)
}

// entryRuns cuts entries into runs of about one chunk; a larger file is a run of its own.
func entryRuns(entries, described []*Entry, yield func(*run) error) error {
	for len(entries) > 0 {
		j, n := 0, int64(0)
		for j < len(entries) && (j == 0 || n+entries[j].Size+1024 <= chunkSize) {
			n += entries[j].Size + 1024
			j++
		}
		r := &run{entries: entries[:j]}
		entries = entries[j:]
		if described != nil {
			r.described, described = described[:j], described[j:]
		}
		if err := yield(r); err != nil {
			return err
		}
	}
	return nil
}

// tableRuns are those of any table: each has entries of its own.
func tableRuns(t Table, yield func(*run) error) error {
	var g gathered
	for e := range t.All() {
		if err := g.add(e, yield); err != nil {
			return err
		}
	}
	if err := t.Err(); err != nil {
		return err
	}
	return g.flush(yield)
}

// gathered are copies of entries that will be a run of about one chunk.
type gathered struct {
	entries []*Entry
	size    int64
}

func (g *gathered) add(e *Entry, yield func(*run) error) error {
	if len(g.entries) > 0 && g.size+e.Size+1024 > chunkSize {
		if err := g.flush(yield); err != nil {
			return err
		}
	}
	copied := *e
	g.entries, g.size = append(g.entries, &copied), g.size+e.Size+1024
	return nil
}

func (g *gathered) flush(yield func(*run) error) error {
	if len(g.entries) == 0 {
		return nil
	}
	r := &run{entries: g.entries, described: g.entries}
	*g = gathered{}
	return yield(r)
}

// drainRuns hands the chunks to w and sums in the order of the TOC, and notes where each file starts.
func drainRuns(ctx context.Context, order <-chan *run, to tarSinks, sums chan<- *chunk) (int64, error) {
	var size int64
	for r := range order {
		begin, w := size, to.w
		if r.based != nil {
			w = nil
		}
		if err := to.describeMoved(r.moved, size); err != nil {
			return 0, err
		}
		for open := true; open; {
			var c *chunk
			select {
			case c, open = <-r.out:
			case <-ctx.Done():
				return 0, ctx.Err()
			}
			if !open {
				if err := to.describe(r.described); err != nil {
					return 0, err
				}
				break
			}
			for _, s := range c.starts {
				s.to.Offset = size + int64(s.at)
			}
			c.users.Store(1)
			if sums != nil && size >= to.hashed {
				c.users.Store(2)
				sums <- c // has room for every chunk there is
			}
			bytes := c.buf[c.from:]
			size += int64(len(bytes))
			if w != nil {
				if _, err := w.Write(bytes); err != nil {
					return 0, fmt.Errorf("writing layer: %w", err)
				}
			}
			c.release()
		}
		if r.based != nil {
			size = begin + r.to - r.from
			to.delta.add(TarCopy{To: begin, From: r.based.from, Size: size - begin})
		}
	}
	return size, ctx.Err()
}

// describe takes down entries that were written.
func (s *tarSinks) describe(entries []*Entry) error {
	if s.encoded == nil {
		return nil
	}
	for _, e := range entries {
		if err := s.encoded.Append(e); err != nil {
			return err
		}
	}
	return nil
}

// slab are entries that go through a tar together.
type slab struct{ entries []Entry }

// slabs are used again: a million entries one by one are more than the collector can keep up with.
var slabs = sync.Pool{New: func() any { return new(slab) }}

// describeMoved tells encoded of entries of a run that begins at a place, which nobody needs afterwards.
func (s *tarSinks) describeMoved(moved *slab, at int64) error {
	if moved == nil {
		return nil
	}
	for i := range moved.entries {
		e := &moved.entries[i]
		if e.Type == File {
			e.Offset += at
		}
		if s.encoded == nil {
			continue
		}
		if err := s.encoded.Append(e); err != nil {
			return err
		}
	}
	clear(moved.entries)
	moved.entries = moved.entries[:0]
	slabs.Put(moved)
	return nil
}

// EmptyDiffID is the diffID of a layer with no entries: a tar of nothing but its end mark, two blocks of zeros.
// Docker knows it as DigestSHA256EmptyTar.
const EmptyDiffID digest.Digest = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
