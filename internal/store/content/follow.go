package content

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
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

// Follower reads what an Ingest has written and writes. Its end comes only once the blob is committed, so who reads
// it to the end has read bytes whose digest is right.
type Follower struct {
	f   *os.File  // of its own: the Ingest closes its file when it is done
	p   *progress // of the Ingest as it was then
	pos int64
}

// Follow reads the blob from its beginning while it is written. Where the writing breaks off, or begins anew, reading
// ends with an error.
func (in *Ingest) Follow() (*Follower, error) {
	f, err := os.Open(in.f.Name())
	if err != nil {
		return nil, fmt.Errorf("reading blob %s: %w", in.digest, err)
	}
	return &Follower{f: f, p: in.progress}, nil
}

// Read implements io.Reader.
func (r *Follower) Read(b []byte) (int, error) {
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
func (r *Follower) Close() error { return r.f.Close() }

// Dropped says that the writing broke off, or began anew.
func (r *Follower) Dropped() bool {
	_, state := r.p.wait(-1)
	return state == dropped
}
