package registry

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Sink is where fetched blobs go; the store is one.
type Sink interface {
	// Has tells whether the blob is there already, complete.
	Has(d digest.Digest) (bool, error)
	// Ingest starts writing a blob, or goes on with what an earlier one left.
	Ingest(ctx context.Context, d digest.Digest, size int64) (Ingest, error)
}

// Ingest takes one blob's bytes in order.
type Ingest interface {
	io.Writer
	// Offset is the number of bytes that are there, from before and written since.
	Offset() int64
	// Commit checks the bytes and gives the blob its name. Bytes that do not match the digest give a
	// *DigestError (with Want and Got); the ingest can be Reset and written again then.
	Commit() error
	// Close keeps what was written, for a later Ingest to go on with, unless it was committed.
	Close() error
	// Reset drops what was written.
	Reset() error
}

// Fetch brings a blob into the sink, unless it is there. It goes on with what an earlier Fetch left, takes up
// broken connections again, and goes on to the next mirror where one fails. progress, which may be nil, is
// told how many of how many bytes are there, from this goroutine and perhaps often.
//
// Bytes that do not match the digest are dropped and, where there is another way to get them, fetched again;
// else the error wraps a *DigestError.
func (c *Client) Fetch(ctx context.Context, ref reference.Named, desc ocispec.Descriptor, sink Sink, progress func(current, total int64)) error {
	if progress == nil {
		progress = func(current, total int64) {}
	}
	there, err := sink.Has(desc.Digest)
	if err != nil {
		return err
	}
	if there {
		progress(desc.Size, desc.Size)
		return nil
	}
	in, err := sink.Ingest(ctx, desc.Digest, desc.Size)
	if err != nil {
		return err
	}
	defer in.Close()
	if in.Offset() > desc.Size { // left by something that promised more
		if err := in.Reset(); err != nil {
			return err
		}
	}
	return c.fetch(ctx, ref, desc, in, progress)
}

func (c *Client) fetch(ctx context.Context, ref reference.Named, desc ocispec.Descriptor, in Ingest, progress func(current, total int64)) error {
	r, err := c.newBlobReader(ctx, ref, desc, in.Offset())
	if err != nil {
		return err
	}
	defer r.Close()
	alone := false // over one connection
	for {
		whole := r.pos == 0 // and from one endpoint, as long as none was given up since
		given := len(r.failures)
		progress(r.pos, desc.Size)
		spread := &spreadReader{blobReader: r, decided: alone}
		err := pump(in, spread, func() { progress(r.pos, desc.Size) })
		if spread.stop(); err != nil {
			return err
		}
		err = in.Commit()
		var mismatch *DigestError
		if !errors.As(err, &mismatch) {
			return err
		}
		if err := in.Reset(); err != nil {
			return err
		}
		r.disconnect()
		r.pos = 0
		alone = spread.used                                                      // there are registries that get ranges wrong
		if whole && !alone && given == len(r.failures) && len(r.endpoints) > 0 { // this endpoint has the wrong bytes
			if err := r.next(&DigestError{Want: mismatch.Want, Got: mismatch.Got, Host: r.endpoints[0].url.Host}); err != nil {
				return err
			}
		}
	}
}

// pump copies until the blob's end.
func pump(w io.Writer, r io.Reader, moved func()) error {
	buf := make([]byte, 128<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if _, werr := w.Write(buf[:n]); werr != nil {
				return fmt.Errorf("writing the blob: %w", werr)
			}
			moved()
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
