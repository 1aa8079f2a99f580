package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
)

// tocPath is where the table of contents of a layer is kept that was looked at, but is not here as a tree or tar.
func (s *Store) tocPath(diffID digest.Digest) string { return s.path("tocs", diffID.Encoded()) }

// openTOC opens a layer's table of contents, wherever it is kept; fs.ErrNotExist where it is not known.
func (s *Store) openTOC(diffID digest.Digest) (*os.File, error) {
	f, err := os.Open(s.layerPath(diffID, "toc"))
	if errors.Is(err, fs.ErrNotExist) {
		f, err = os.Open(s.tocPath(diffID))
	}
	return f, err
}

// HasTOC says whether the table of contents of a layer is known here, be the layer here or not.
func (s *Store) HasTOC(diffID digest.Digest) bool {
	return exists(s.layerPath(diffID, "toc")) || exists(s.tocPath(diffID))
}

// EachEntry calls fn for every entry of a layer's table of contents that is known here, in canonical order; the entry is
// valid during the call only. Nothing is fetched, and nothing kept in memory. fs.ErrNotExist where HasTOC is false.
func (s *Store) EachEntry(diffID digest.Digest, fn func(*layer.Entry) error) error {
	f, err := s.openTOC(diffID)
	if err != nil {
		return fmt.Errorf("reading the table of contents of layer %s: %w", diffID, err)
	}
	defer f.Close()
	return layer.EachEntry(f, fn)
}

// Scan reads the uncompressed tar of the layer diffID from r, of which it keeps the table of contents and nothing else. A
// tar with another digest is refused.
func (s *Store) Scan(ctx context.Context, diffID digest.Digest, r io.Reader) error {
	sum := layer.NewDigestReader(r)
	return s.scan(ctx, diffID, sum, func() error {
		if got := sum.Digest(); got != diffID {
			return fmt.Errorf("its contents have the digest %s; whoever made or sent the image damaged it: get it again, or ask its author", got)
		}
		return nil
	})
}

// ScanChecked is Scan of a tar that is checked while it is read: instead of io.EOF, r gives an error if its digest is
// not diffID.
func (s *Store) ScanChecked(ctx context.Context, diffID digest.Digest, r io.Reader) error {
	return s.scan(ctx, diffID, r, func() error { return nil })
}

func (s *Store) scan(ctx context.Context, diffID digest.Digest, r io.Reader, check func() error) error {
	t, err := layer.Scan(ctx, r)
	if err == nil {
		_, err = io.CopyBuffer(io.Discard, r, make([]byte, 1<<16))
	}
	if err == nil {
		err = check()
	}
	if err != nil {
		return fmt.Errorf("reading layer %s: %w", diffID, err)
	}
	dir, err := s.Temp("toc")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "toc")
	if err = s.writeTOC(name, t); err == nil {
		if err = os.MkdirAll(s.path("tocs"), 0o700); err == nil {
			err = os.Rename(name, s.tocPath(diffID))
		}
	}
	if err != nil {
		return fmt.Errorf("keeping the table of contents of layer %s: %w%s", diffID, err, hint(err))
	}
	return nil
}

// Look sees to it that the layer's table of contents is known. A layer that is elsewhere is fetched for it, as a blob
// that stays in the store, but it is not laid out: that is left to the step that runs on it.
func (l *Layer) Look(ctx context.Context) error {
	s := l.store
	if s.HasTOC(l.DiffID) {
		return nil
	}
	unlock := s.lockLayer(l.DiffID)
	defer unlock()
	if s.HasTOC(l.DiffID) {
		return nil
	}
	r, err := l.openBlob(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	return s.Scan(ctx, l.DiffID, r)
}

// openBlob reads the layer's tar out of one of its compressed forms, which it fetches if none is here.
func (l *Layer) openBlob(ctx context.Context) (io.ReadCloser, error) {
	s := l.store
	blobs, err := s.Blobs(l.DiffID)
	if err != nil {
		return nil, err
	}
	failure := errors.New("nothing says where to get it; pull its image again")
	for _, b := range blobs {
		if !exists(s.blobPath(b.Digest)) {
			if b.Repository == "" || s.Fetcher == nil {
				continue
			}
			if err := s.Fetcher.Fetch(ctx, b.Repository, b.Descriptor(), ""); err != nil {
				if ctx.Err() != nil || isLocal(err) {
					return nil, fmt.Errorf("fetching layer %s: %w", l.DiffID, err)
				}
				failure = err
				continue
			}
		}
		f, err := s.OpenBlob(b.Digest)
		if err != nil {
			return nil, err
		}
		z, err := layer.Decompress(bufio.NewReaderSize(f, 1<<18))
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("reading layer %s: %w", l.DiffID, err)
		}
		return &blobReader{z, f}, nil
	}
	return nil, &UnavailableError{l.DiffID, failure}
}

// blobReader decompresses a blob.
type blobReader struct {
	io.ReadCloser
	f *os.File
}

func (r *blobReader) Close() error { return errors.Join(r.ReadCloser.Close(), r.f.Close()) }

// OpenFile reads the contents of a File entry, which EachEntry gave, without laying the layer out.
func (l *Layer) OpenFile(ctx context.Context, e *layer.Entry) (io.ReadCloser, error) {
	if l.Present() {
		return l.Source(ctx).Open(e)
	}
	r, err := l.openBlob(ctx)
	if err != nil {
		return nil, err
	}
	contents, err := layer.OpenIn(ctx, r, e)
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("reading /%s: %w", e.Path, err)
	}
	return struct {
		io.Reader
		io.Closer
	}{contents, r}, nil
}
