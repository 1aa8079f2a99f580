package layers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store/content"
	"github.com/strata-build/strata/internal/store/disk"
)

// ensure brings the layer's bytes here if they are not.
func (l *Layer) ensure(ctx context.Context) error {
	if l.Present() {
		return nil
	}
	ls := l.layers
	unlock := ls.memory.lock(l.DiffID)
	defer unlock()
	if l.Present() {
		return nil
	}
	if l.inFolder() { // without its table of contents, which is made again of a sound tar
		if _, err := ls.mend(ctx, l.DiffID); err != nil || l.Present() {
			return err
		}
	}
	blobs, err := ls.content.Blobs(l.DiffID)
	if err != nil {
		return err
	}
	if len(blobs) == 0 {
		if err := ls.forget(l.DiffID); err != nil {
			return err
		}
	}
	failure := ErrNowhere
	for _, b := range blobs {
		if err := l.ensureFrom(ctx, b); err == nil {
			_ = os.RemoveAll(ls.LazyPath(l.DiffID)) // prune takes what stays
			return nil
		} else if ctx.Err() != nil || disk.IsLocal(err) {
			return fmt.Errorf("fetching layer %s: %w", l.DiffID, err)
		} else if !errors.Is(err, errUnavailable) {
			failure = err
		}
	}
	return &UnavailableError{l.DiffID, failure}
}

// ErrNowhere is the cause of an UnavailableError where no place is known that has, or had, the layer.
var ErrNowhere = errors.New("nothing says where to get it; pull or import its image again, or build with --no-cache")

// errUnavailable is a form of a layer that is no more where it was, with nothing else to say about it.
var errUnavailable = errors.New("not here")

// ensureFrom makes the layer out of one of its compressed forms.
func (l *Layer) ensureFrom(ctx context.Context, b content.Blob) error {
	ls := l.layers
	if err := ls.bring(ctx, b, l.DiffID); err != nil || l.Present() {
		return err
	}
	return ls.unpackBlob(ctx, l.DiffID, b)
}

// bring fetches a blob if it is not here; on the way it may be unpacked as the layer as, "" for none. errUnavailable
// is one that nothing is known to have any more.
func (ls *Layers) bring(ctx context.Context, b content.Blob, as digest.Digest) error {
	here, err := ls.content.Usable(ctx, b.Digest)
	switch {
	case here || err != nil:
		return err
	case b.Repository == "" || ls.fetcher == nil:
		return errUnavailable
	}
	return ls.fetcher.Fetch(ctx, b.Repository, b.Descriptor(), as)
}

func (ls *Layers) unpackBlob(ctx context.Context, diffID digest.Digest, b content.Blob) error {
	r, err := ls.content.OpenBlob(b.Digest)
	if err != nil {
		return err
	}
	defer r.Close()
	return ls.Unpack(ctx, diffID, r)
}

// UnavailableError is a layer that is not on this machine and could not be had where it was.
type UnavailableError struct {
	DiffID digest.Digest
	Cause  error
}

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("layer %s cannot be had: %v", e.DiffID, e.Cause)
}

// Unwrap is the cause, but for a file that does not exist.
func (e *UnavailableError) Unwrap() error { return hideMissing(e.Cause) }

// hideMissing keeps a file that does not exist, which is the layer's, from being taken for a path that the layer does
// not have.
func hideMissing(cause error) error {
	if errors.Is(cause, fs.ErrNotExist) {
		return nil
	}
	return cause
}
