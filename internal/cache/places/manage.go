package places

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/cache"
)

// ErrDamaged says that a record of a place, or the layer that it names, is not as it was written.
var ErrDamaged = errors.New("damaged")

// Entry is a record as a place has it.
type Entry struct {
	Key    digest.Digest
	Record *cache.Record // nil where it cannot be read
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
	// Verify says whether the layer of an entry is there, with read by reading it: an error that wraps ErrDamaged where it
	// is not, or not right.
	Verify(ctx context.Context, e Entry, read bool) error
}

// Pruner is a place whose records can be removed by themselves.
type Pruner interface {
	// Prune removes the records that were last written before a time, what cannot be read, and the layers that no record
	// names any more, but for those that somebody may be about to name. dry only counts.
	Prune(ctx context.Context, before time.Time, dry bool) (Pruned, error)
}

// Pruned is what a prune has removed.
type Pruned struct {
	Records, Layers int
	Bytes           int64
}
