package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"
)

// progress is how far an Ingest is, for those who read what it has written while it still writes.
type progress struct {
	mu     sync.Mutex
	moved  *sync.Cond
	offset int64
	state  ingestState
}

type ingestState int

const (
	writing   ingestState = iota
	committed             // all is there, and its digest is right
	dropped               // closed before it was complete, or begun anew
)

// errDropped ends the reading of a blob that is not being written any more.
var errDropped = errors.New("the blob is not being written any more")

func newProgress(offset int64) *progress {
	p := &progress{offset: offset}
	p.moved = sync.NewCond(&p.mu)
	return p
}

func (p *progress) set(offset int64, state ingestState) {
	p.mu.Lock()
	if p.state == writing {
		p.offset, p.state = offset, state
	}
	p.mu.Unlock()
	p.moved.Broadcast()
}

// wait waits until there is more than pos, or nothing more to come.
func (p *progress) wait(pos int64) (offset int64, state ingestState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.offset <= pos && p.state == writing {
		p.moved.Wait()
	}
	return p.offset, p.state
}

// follower reads what an Ingest has written and writes. Its end comes only once the blob is committed, so who reads
// it to the end has read bytes whose digest is right.
type follower struct {
	f   *os.File // of its own: the Ingest closes its file when it is done
	p   *progress
	pos int64
}

// Follow reads the blob from its beginning while it is written. Where the writing breaks off, or begins anew, reading
// ends with an error.
func (in *Ingest) Follow() (io.ReadCloser, error) {
	f, err := os.Open(in.f.Name())
	if err != nil {
		return nil, fmt.Errorf("reading blob %s: %w", in.digest, err)
	}
	return &follower{f: f, p: in.progress}, nil
}

// Read implements io.Reader.
func (r *follower) Read(b []byte) (int, error) {
	offset, state := r.p.wait(r.pos)
	if state == dropped {
		return 0, errDropped
	}
	if r.pos >= offset {
		return 0, io.EOF
	}
	n, err := r.f.ReadAt(b[:min(int64(len(b)), offset-r.pos)], r.pos)
	r.pos += int64(n)
	if n > 0 {
		return n, nil
	}
	return 0, err
}

// Close implements io.Closer.
func (r *follower) Close() error { return r.f.Close() }

// Unpacking is a layer that is unpacked while its blob is written.
type Unpacking struct {
	progress *progress
	done     chan struct{}
	err      error
}

// UnpackWhile unpacks the layer diffID from a blob that is being written. The layer gets its name after the blob was
// committed, and only if its tar has the digest diffID.
func (s *Store) UnpackWhile(ctx context.Context, diffID digest.Digest, in *Ingest) (*Unpacking, error) {
	r, err := in.Follow()
	if err != nil {
		return nil, err
	}
	u := &Unpacking{progress: in.progress, done: make(chan struct{})}
	go func() {
		defer close(u.done)
		defer r.Close()
		u.err = s.Unpack(ctx, diffID, r)
	}()
	return u, nil
}

// Wait waits for the layer; it is here if the error is nil. A blob that was begun anew gives ErrNotFound: then the layer
// has to be unpacked from the blob when that is complete. The Ingest has to be closed or committed before.
func (u *Unpacking) Wait() error {
	<-u.done
	// Bytes that were dropped may have been wrong, and unpacking may have met them before it met their end.
	if _, state := u.progress.wait(-1); state == dropped && u.err != nil {
		return fmt.Errorf("%w: %w", ErrNotFound, u.err)
	}
	return u.err
}

// UnavailableError is a layer that is not on this machine and could not be had where it was.
type UnavailableError struct {
	DiffID digest.Digest
	Cause  error
}

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("layer %s cannot be had: %v", e.DiffID, e.Cause)
}

func (e *UnavailableError) Unwrap() error { return e.Cause }
