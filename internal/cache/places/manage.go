package places

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/packed"
)

// ErrDamaged says that a record of a place, or the layer that it names, is not as it was written.
var ErrDamaged = errors.New("damaged")

// Entry is a record, or the contents of a cache mount, as a place has it.
type Entry struct {
	Key    digest.Digest
	Record *cache.Record // nil where it cannot be read, and of a mount
	// IsMount says that it is a cache mount, whose name's digest the Key is. Mount is its document, nil where that cannot be read.
	IsMount bool
	Mount   *packed.Document
	// Blob is the compressed layer; nil for a record without one.
	Blob *ocispec.Descriptor
	// Written is when it was last written; the zero time where the place does not know.
	Written time.Time
	// Err is why the record cannot be read: it wraps ErrDamaged.
	Err error
}

// Manager is a place that can be looked through. A cache.Place that is one has these methods too.
type Manager interface {
	// Entries are all records, in no particular order.
	Entries(ctx context.Context) iter.Seq2[Entry, error]
	// Verify says whether the layer of an entry, or the packs of a mount, are there, with read by reading it: an error that wraps ErrDamaged where it
	// is not, or not right.
	Verify(ctx context.Context, e Entry, read bool) error
}

// Pruner is a place whose records can be removed by themselves.
type Pruner interface {
	// Prune removes records and mounts as the options say, what cannot be read, and the layers and packs that nothing names any
	// more, but for those that somebody may be about to name.
	Prune(ctx context.Context, o PruneOptions) (Pruned, error)
}

// PruneOptions say what is removed.
type PruneOptions struct {
	Before time.Time // what was last written before
	// MaxBytes is how many bytes layers and packs may take: what was written first goes until they do. 0 is any number.
	MaxBytes int64
	Dry      bool // only count
}

// Depot is a place that keeps layers by themselves, for machines that know by other ways what they are of. Its methods may be
// called from several goroutines.
type Depot interface {
	// SendLayer sees to it that the place has a layer, and says in which compressed form.
	SendLayer(ctx context.Context, diffID digest.Digest) (ocispec.Descriptor, error)
	// NoteLayer tells the store of this machine that a compressed form of a layer can be had at the place.
	NoteLayer(diffID digest.Digest, desc ocispec.Descriptor) error
}

// Pruned is what a prune has removed.
type Pruned struct {
	Records, Mounts int
	Blobs           int // layers and packs
	Bytes           int64
}
