package layers

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/chunked"
	"github.com/strata-build/strata/internal/store/content"
	"github.com/strata-build/strata/internal/store/disk"
)

// A layer that is elsewhere, in a blob of which parts can be read alone (package chunked), has a lazy form: its table
// of contents, and those parts of its files that somebody has read. It is no Form, since no tar can be made of it,
// and the layer is not present with it. Its folder is lazy/DIFFID:
//
//	CLAIM.table   the table of contents as the blob has it, verified against the manifest whenever it is opened. CLAIM is
//	              the digest of what the manifest says, as of PartsBy
//	TABLE.files   the contents of all files one after the other, with holes, and then a byte for each chunk: 1 for one
//	              that is there; where the table has no digests of what chunks hold, then 32 bytes for each, the SHA-256
//	              of the table's and of what came by it. TABLE is the SHA-256 of the table: processes that read the layer
//	              by different ones share nothing
//
// What the folder promises is checked when it is used: a chunk that is there is compared with its digest before it is
// read for the first time in a process. So nothing of it needs a seal, and what a power cut takes is fetched again.

// RangeFetcher is a Fetcher that can read parts of a blob.
type RangeFetcher interface {
	// FetchRange opens the bytes of a blob from one to before another.
	FetchRange(ctx context.Context, repo string, desc ocispec.Descriptor, from, to int64) (io.ReadCloser, error)
	// Beside is what else is where a blob is.
	Beside(repo string) (chunked.Repository, error)
}

// Claim is what an image says of how parts of one of its layers are read. Any image can have any layer, and say of it
// what it likes; that the layer is the same is known when it is here. So parts of a layer are read only where all
// images say the same that the process uses and that have it. What images say is not kept in the store: what other
// processes have used does not count.
type Claim struct {
	Blob digest.Digest // that the image has the layer as
	// Annotations are those of chunked.Annotations; nil where the image says nothing of parts.
	Annotations map[string]string
	// Repository is where an index has to be that counts because it refers to the image; "" if the image names its
	// index.
	Repository string
}

func (c *Claim) equal(other *Claim) bool {
	return c.Blob == other.Blob && c.Repository == other.Repository && maps.Equal(c.Annotations, other.Annotations)
}

// claimed is what the images say of a layer that have it.
type claimed struct {
	claim     Claim // of all of them
	contested bool  // they do not say the same
}

// AddClaim takes in what an image says of a layer, before any of the layer is read for somebody who uses the image.
func (ls *Layers) AddClaim(diffID digest.Digest, c Claim) { ls.memory.addClaim(diffID, c) }

// lazyWorth is how large a blob is of which parts are read, in bytes. A smaller one is here as soon as its table of
// contents.
const lazyWorth = 1 << 20

// Lazy is the lazy form of a layer. It can be used by several goroutines.
type Lazy struct {
	Index *chunked.Index

	diffID digest.Digest
	came   atomic.Int64      // bytes that were fetched by this process, with the table of contents
	table  [sha256.Size]byte // the SHA-256 of the table of contents as it is kept
	file   *os.File
	source chunked.Source

	useless atomic.Bool // a part of it could not be had: the layer is fetched whole

	mu    sync.Mutex
	parts []part
}

// part is what is known of a chunk.
type part struct {
	state partState
	ended chan struct{} // of who fetches it now
}

type partState byte

const (
	partAway     partState = iota
	partKept               // there is something in the file, which nobody has compared with its digest
	partVerified           // the file has it
)

// LazyFolder is where the lazy forms of layers are.
func (ls *Layers) LazyFolder() string { return filepath.Join(ls.root, "lazy") }

// LazyPath is where the lazy form of a layer is, if it has one.
func (ls *Layers) LazyPath(diffID digest.Digest) string {
	return filepath.Join(ls.LazyFolder(), diffID.Encoded())
}

// Lazy opens the lazy form of a layer that is not here, for as long as the process lives: nil where it is here, or
// has none. From then on who asks the layer for its table of contents through a Stack gets that of the lazy form.
func (ls *Layers) Lazy(ctx context.Context, diffID digest.Digest) (*Lazy, error) {
	unlock := ls.memory.lock("lazy " + diffID)
	defer unlock()
	if z := ls.memory.lazy(diffID); z != nil {
		return ls.opened(diffID), nil
	}
	l, err := ls.Layer(diffID)
	if err != nil || l.inFolder() {
		return nil, err
	}
	way, err := ls.wayOf(diffID)
	if way == nil || err != nil {
		return nil, err
	}
	z, err := ls.openLazy(ctx, diffID, way)
	if err != nil {
		return nil, fmt.Errorf("opening layer %s in parts: %w", diffID, ls.session.Explain(err))
	}
	ls.memory.setLazy(diffID, z)
	return ls.opened(diffID), nil
}

// PartsRead is what a process has read of a layer in parts.
type PartsRead struct {
	By         string // what the table of contents is, for people
	Came, Size int64  // bytes that the process fetched, of those that the layer's blob has
}

// ReadInParts is what this process has read of those layers of a chain that it has opened in parts, and that are not
// here by now.
func (ls *Layers) ReadInParts(chain []digest.Digest) []PartsRead {
	var all []PartsRead
	for _, d := range chain {
		if z := ls.opened(d); z != nil {
			all = append(all, PartsRead{z.Index.By, z.came.Load(), z.source.Size})
		}
	}
	return all
}

// way is how parts of a layer are read.
type way struct {
	Claim
	blob content.Blob
	from RangeFetcher
}

// wayOf is how parts of a layer are read, by what images say of it; nil if they are not.
func (ls *Layers) wayOf(diffID digest.Digest) (*way, error) {
	claim, blobs, err := ls.agreed(diffID)
	if claim == nil || err != nil {
		return nil, err
	}
	if slices.ContainsFunc(blobs, func(b content.Blob) bool { return b.Repository == "" }) {
		return nil, nil // all of it is here
	}
	for _, b := range blobs {
		if b.Size >= lazyWorth && (claim.Repository == "" || claim.Repository == b.Repository) {
			return &way{*claim, b, ls.fetcher.(RangeFetcher)}, nil
		}
	}
	return nil, nil
}

// agreed is what all say of how parts of a layer are read, with the layer's blobs; nil where parts of none are read.
func (ls *Layers) agreed(diffID digest.Digest) (*Claim, []content.Blob, error) {
	_, ok := ls.fetcher.(RangeFetcher)
	claim := ls.memory.claimed(diffID)
	if !ok || ls.session.ReadOnly() || claim == nil || claim.Annotations == nil {
		return nil, nil, nil
	}
	blobs, err := ls.content.Blobs(diffID)
	if err != nil {
		return nil, nil, err
	}
	// Where anybody has the layer as another blob, one of the two may claim it falsely.
	if slices.ContainsFunc(blobs, func(b content.Blob) bool { return b.Digest != claim.Blob }) ||
		!slices.ContainsFunc(blobs, func(b content.Blob) bool { return b.Size >= lazyWorth }) {
		return nil, nil, nil
	}
	return claim, blobs, nil
}

// PartsBy says by what parts of a layer are read while it is not here: a digest of its blob and of what the images say
// that this process uses, which names a table of contents, or the image whose index counts. It is "" where nobody says
// that parts can be read, or where images disagree: then the layer is fetched whole. It may become "", and nothing
// else, when the process comes to use another image. Whether the layer is here it does not look at.
func (ls *Layers) PartsBy(diffID digest.Digest) (string, error) {
	claim, _, err := ls.agreed(diffID)
	if claim == nil || err != nil {
		return "", err
	}
	by, err := claim.digest()
	return by.String(), err
}

func (c *Claim) digest() (digest.Digest, error) {
	text, err := json.Marshal(c) // in which keys are sorted
	return digest.FromBytes(text), err
}

// opened is the lazy form that this process has opened of a layer; nil for none, for one that is here by now, and where
// images disagree by now, or a part could not be had. Who serves the lazy form to a command goes on with it.
func (ls *Layers) opened(diffID digest.Digest) *Lazy {
	z := ls.memory.lazy(diffID)
	if z == nil || z.useless.Load() || ls.memory.claimed(diffID) == nil || disk.Exists(ls.Path(diffID, formTOC)) {
		return nil
	}
	return z
}

func (ls *Layers) openLazy(ctx context.Context, diffID digest.Digest, w *way) (*Lazy, error) {
	b := w.blob
	beside, err := ls.memory.repository(b.Repository, w.from.Beside)
	if err != nil {
		return nil, err
	}
	z := &Lazy{diffID: diffID, source: chunked.Source{Size: b.Size, Beside: beside, Blob: func(ctx context.Context, start, end int64) (io.ReadCloser, error) {
		return w.from.FetchRange(ctx, b.Repository, b.Descriptor(), start, end)
	}}}
	dir := ls.LazyPath(diffID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	by, err := w.digest()
	if err != nil {
		return nil, err
	}
	table := filepath.Join(dir, by.Encoded()+".table")
	kept, err := os.ReadFile(table)
	if err == nil && !chunked.Current(ctx, w.Annotations, kept, beside) {
		err = cmp.Or(os.Remove(table), fs.ErrNotExist)
	}
	if err == nil {
		z.Index, err = chunked.Open(ctx, w.Annotations, kept, b.Size)
	}
	if err != nil {
		if kept, err = chunked.Fetch(ctx, w.Annotations, &z.source); err != nil {
			return nil, err
		}
		if z.Index, err = chunked.Open(ctx, w.Annotations, kept, b.Size); err != nil {
			return nil, err
		}
		if err := ls.keepTable(table, kept); err != nil {
			return nil, err
		}
		z.came.Add(int64(len(kept)))
	}
	z.table = sha256.Sum256(kept)
	files := filepath.Join(dir, hex.EncodeToString(z.table[:])+".files")
	if z.file, err = os.OpenFile(files, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, err
	}
	if err := z.readParts(); err != nil {
		z.file.Close()
		return nil, err
	}
	return z, nil
}

func (ls *Layers) keepTable(path string, table []byte) error {
	dir, err := ls.session.Temp("table")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "table")
	if err := os.WriteFile(name, table, 0o600); err != nil {
		return err
	}
	return os.Rename(name, path)
}

// replace begins another file, and leaves the one that is there to other processes that have it open.
func (z *Lazy) replace() error {
	name := z.file.Name()
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	old := z.file
	z.file = f
	return old.Close()
}

// readParts reads which chunks are said to be there.
func (z *Lazy) readParts() error {
	x := z.Index
	z.parts = make([]part, len(x.Chunks))
	size := x.Space + int64(len(x.Chunks))
	if x.Undigested {
		size += int64(len(x.Chunks)) * sha256.Size
	}
	st, err := z.file.Stat()
	if err == nil && st.Size() != size && st.Size() != 0 { // damaged
		err = z.replace()
	}
	if err == nil && st.Size() != size {
		err = z.file.Truncate(size)
	}
	marks := make([]byte, len(x.Chunks))
	if err == nil && len(marks) > 0 {
		_, err = z.file.ReadAt(marks, x.Space)
	}
	for i, m := range marks {
		if m == 1 {
			z.parts[i].state = partKept
		}
	}
	return err
}

// Need sees to it that a part of the contents of files is in File: size bytes at a place of the index.
func (z *Lazy) Need(ctx context.Context, at, size int64) error {
	first, end := z.Index.Spans(at, size)
	for i := first; i < end; {
		z.mu.Lock()
		p := &z.parts[i]
		switch {
		case p.state == partVerified:
			z.mu.Unlock()
			i++
			continue
		case p.ended != nil: // somebody else sees to it
			ended := p.ended
			z.mu.Unlock()
			select {
			case <-ended:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			continue
		}
		mine, done := z.claim(i, end)
		z.mu.Unlock()
		err := z.bring(ctx, i, mine)
		z.mu.Lock()
		close(done)
		for k := i; k < mine; k++ {
			if z.parts[k].ended = nil; err == nil {
				z.parts[k].state = partVerified
			}
		}
		z.mu.Unlock()
		if err != nil {
			return fmt.Errorf("fetching a part of layer %s: %w", z.diffID, err)
		}
	}
	return nil
}

// neighbours is how much of a blob is fetched with what is asked for, in bytes, where what follows is not here: files
// that lie together are often read together, and a request costs as much time as some 100 KB.
const neighbours = 64 << 10

// most is how much of a blob is fetched with one request, in bytes.
const most = 8 << 20

// claim takes the chunk i, those after it before end, and its neighbours, as far as nobody has them or sees to them:
// one request brings them. With a chunk that is kept it takes that one alone.
func (z *Lazy) claim(i, end int) (next int, done chan struct{}) {
	done = make(chan struct{})
	chunks := z.Index.Chunks
	z.parts[i].ended = done
	if z.parts[i].state == partKept {
		return i + 1, done
	}
	from := chunks[i].From
	for next = i + 1; next < len(chunks); next++ {
		p, c := &z.parts[next], chunks[next]
		reach := c.To - from
		if p.state != partAway || p.ended != nil || c.From < chunks[next-1].From || reach > most || next >= end && reach > neighbours {
			break
		}
		p.ended = done
	}
	return next, done
}

// maxInMemory is how many bytes of parts a process has in memory at once: a table may have parts of 64 MB, and a command
// reads 16 at a time.
const maxInMemory = 256 << 20

var inMemory = semaphore.NewWeighted(maxInMemory)

// bring verifies a chunk that is kept, or fetches those from first to before next, and writes them.
func (z *Lazy) bring(ctx context.Context, first, next int) error {
	chunks := z.Index.Chunks[first:next]
	z.mu.Lock()
	kept := z.parts[first].state == partKept
	z.mu.Unlock()
	if kept && z.sound(first) {
		return nil
	}
	from, to := chunks[0].From, chunks[0].To
	for _, c := range chunks {
		to = max(to, c.To)
	}
	held := 2 * (to - from) // as they come, and once more where they are decompressed from the middle of a stream
	for _, c := range chunks {
		held += c.Size
	}
	held = min(held, maxInMemory)
	if err := inMemory.Acquire(ctx, held); err != nil {
		return context.Cause(ctx)
	}
	defer inMemory.Release(held)
	data, err := z.read(ctx, from, to)
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(2)
	for k := range chunks {
		g.Go(func() error {
			c := &chunks[k]
			bytes, err := z.Index.Extract(c, data[c.From-from:c.To-from])
			if err == nil {
				_, err = z.file.WriteAt(bytes, c.At)
			}
			if err == nil && c.Packed != "" {
				err = z.noteSum(first+k, bytes)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	marks := make([]byte, len(chunks))
	for i := range marks {
		marks[i] = 1
	}
	_, err = z.file.WriteAt(marks, z.Index.Space+int64(first))
	return err
}

// read fetches bytes of the blob; none where only zeros are wanted.
func (z *Lazy) read(ctx context.Context, from, to int64) ([]byte, error) {
	if from == to {
		return nil, nil
	}
	r, err := z.source.Blob(ctx, from, to)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data := make([]byte, to-from)
	n, err := io.ReadFull(r, data)
	z.came.Add(int64(n))
	return data, err
}

// sumAt is where the SHA-256 of what a chunk holds is noted, if the table does not have it.
func (z *Lazy) sumAt(i int) int64 {
	return z.Index.Space + int64(len(z.Index.Chunks)) + int64(i)*sha256.Size
}

// sum is that of what a chunk holds, which says nothing of what came by another table.
func (z *Lazy) sum(data []byte) []byte {
	h := sha256.New()
	h.Write(z.table[:])
	h.Write(data)
	return h.Sum(nil)
}

func (z *Lazy) noteSum(i int, data []byte) error {
	_, err := z.file.WriteAt(z.sum(data), z.sumAt(i))
	return err
}

// sound says whether the file has what a chunk's digest promises.
func (z *Lazy) sound(i int) bool {
	c := &z.Index.Chunks[i]
	data := make([]byte, c.Size)
	if _, err := z.file.ReadAt(data, c.At); err != nil {
		return false
	}
	if c.Packed == "" {
		return c.Check(data) == nil
	}
	noted := make([]byte, sha256.Size)
	_, err := z.file.ReadAt(noted, z.sumAt(i))
	return err == nil && bytes.Equal(noted, z.sum(data))
}

// File opens what the contents of files are in, each at its Offset, once Need has said so. Who has it closes it.
func (z *Lazy) File() (*os.File, error) {
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", z.file.Fd())) // its name may be another's by now
}

// Open reads the contents of a file.
func (z *Lazy) Open(ctx context.Context, e *layer.Entry) (io.ReadCloser, error) {
	if err := z.Need(ctx, e.Offset, e.Size); err != nil {
		return nil, err
	}
	return io.NopCloser(io.NewSectionReader(z.file, e.Offset, e.Size)), nil
}
