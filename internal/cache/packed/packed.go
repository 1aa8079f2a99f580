// Package packed is the form in which the contents of a cache mount (RUN --mount=type=cache) travel: a list of its files, and
// packs of their contents. Both are blobs under their digests. A document names them; a place of the cache keeps one for each
// mount (Keeper).
//
// A file of at most wholeFile bytes is one piece. A larger one is cut where a rolling hash says so, so that a change moves
// only the pieces around it. Pieces that no earlier document has go together into packs of some MB, as thousands of small
// files would be thousands of requests; a pack is cut where the digest of a piece says so, so that two machines that have the
// same files make the same packs. Packs of the document before are used on as long as half of their bytes are of use: what
// is sent is what is new, and no more than half of what is kept is waste.
//
// Nobody sees a document before its blobs are there, and a mount is restored only when all blobs are here and have their
// digests: there is no half-written state.
package packed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"
)

// Limits of what is taken from outside, and the sizes of what is made.
const (
	wholeFile = 512 << 10 // bytes of a file that is one piece
	// minPiece, maxPiece and pieceMask bound what a large file is cut into, in bytes: about a MB each.
	minPiece, maxPiece = 256 << 10, 4 << 20
	pieceMask          = 1<<20 - 1
	// minPack is from how many bytes on a pack may end, after one of packEvery pieces; maxPack is where it ends in any case.
	// With a last piece it has at most MaxPack, which object stores take in one request.
	minPack, maxPack, packEvery = 1 << 20, 3 << 20, 64

	MaxPack     = maxPack + maxPiece // bytes of a pack, uncompressed
	maxList     = 64 << 20           // bytes of a list, uncompressed: some 300,000 files
	maxPacks    = 1 << 17
	maxBytes    = 1 << 40  // of a mount's files
	MaxDocument = 32 << 20 // bytes of a document
)

// Errors of Keepers.
var (
	// ErrNone says that a place has nothing of a mount.
	ErrNone = errors.New("the cache has nothing of this cache mount")
	// ErrChanged says that another one has put the same mount since its document was read.
	ErrChanged = errors.New("another build has written this cache mount meanwhile")
)

// Name is what a cache mount is known by on all machines.
type Name struct {
	ID string `json:"id"` // as its RUN says, with a slash in front
	// Base stands for what the cache begins with, "" for nothing: store/mounts.Options.Base.
	Base string `json:"base,omitempty"`
	// Arch is of the platform of the steps that use it: what compilers keep differs, and a mount of two would be sent to and fro.
	Arch string `json:"arch"`
}

// Digest is the name in the form in which places keep it.
func (n Name) Digest() digest.Digest {
	return digest.FromString("cache mount\n" + strconv.Quote(n.ID) + strconv.Quote(n.Base) + strconv.Quote(n.Arch))
}

// Blob is a list or a pack.
type Blob struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"` // in bytes, compressed with zstd
	Raw    int64         `json:"raw"`  // uncompressed
}

// Document is what a place keeps of a mount.
type Document struct {
	Mount   Name      `json:"mount"`
	Written time.Time `json:"written"`
	Files   int       `json:"files"`
	Bytes   int64     `json:"bytes"` // of the files
	List    Blob      `json:"list"`
	Packs   []Blob    `json:"packs"`
}

// Blobs are all that the document names, the list first.
func (d *Document) Blobs() []Blob { return append([]Blob{d.List}, d.Packs...) }

// Size is how many bytes the blobs have.
func (d *Document) Size() int64 {
	var n int64
	for _, b := range d.Blobs() {
		n += b.Size
	}
	return n
}

// Check says why a document that somebody else wrote cannot be taken.
func (d *Document) Check() error {
	switch {
	case len(d.Packs) > maxPacks || d.Bytes < 0 || d.Bytes > maxBytes || d.Files < 0:
		return errors.New("the document of a cache mount has numbers that cannot be")
	case d.List.Raw > maxList:
		return fmt.Errorf("the list of a cache mount has %d bytes, more than the %d that are allowed", d.List.Raw, maxList)
	}
	seen := map[digest.Digest]bool{}
	for i, b := range d.Blobs() {
		if seen[b.Digest] {
			return fmt.Errorf("the document of a cache mount names the blob %s twice", b.Digest)
		}
		seen[b.Digest] = true
		if b.Digest.Validate() != nil || b.Digest.Algorithm() != digest.SHA256 || b.Size < 0 || b.Raw < 0 || i > 0 && b.Raw > MaxPack || b.Size > b.Raw+1<<16 {
			return fmt.Errorf("the document of a cache mount names a blob %q of %d bytes, which cannot be", b.Digest, b.Size)
		}
	}
	return nil
}

// CheckFor is Check for a document that is to be of a mount; the error wraps ErrNone.
func (d *Document) CheckFor(name Name) error {
	err := d.Check()
	if err == nil && d.Mount != name {
		err = fmt.Errorf("it is of the cache mount %s", d.Mount.ID)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNone, err)
	}
	return nil
}

// Keeper is a place of the cache that keeps the contents of cache mounts. Its methods may be called from several goroutines.
//
// Package placetest has the tests that every Keeper passes.
type Keeper interface {
	// Mount returns what was last put of a mount, and which version of it that is, "" where the place has none; ErrNone if there
	// is nothing that can be read.
	Mount(ctx context.Context, name Name) (d *Document, version string, err error)
	// HasBlob says whether a blob that a document names is there.
	HasBlob(ctx context.Context, name Name, b Blob) (bool, error)
	// OpenBlob reads a blob. Whoever reads it checks its digest.
	OpenBlob(ctx context.Context, name Name, b Blob) (io.ReadCloser, error)
	// PutMount puts the blobs that open has, unless they are there, several at once, and then the document. before is the version
	// that Mount gave, with nil for nothing. Where another one put the same mount since, and the place can tell, that stays: the
	// error is ErrChanged.
	PutMount(ctx context.Context, d *Document, open map[digest.Digest]OpenFunc, before *string) error
}

// OpenFunc reads a blob that is to be sent. It may be called again.
type OpenFunc func() (io.ReadCloser, error)
