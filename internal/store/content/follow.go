package content

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
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

// Growing is a file that others read while it is written.
type Growing struct {
	f        *os.File
	w        io.Writer // to f
	progress *progress
	size     int64
}

// NewGrowing returns a Growing that writes to the end of an empty file. The file stays the caller's.
func NewGrowing(f *os.File) *Growing {
	return &Growing{f: f, w: layer.NewBehind(f, 0), progress: newProgress(0)}
}

// Write appends p.
func (g *Growing) Write(p []byte) (int, error) {
	n, err := g.w.Write(p)
	g.size += int64(n)
	g.progress.set(g.size, writing)
	return n, err
}

// Size is how many bytes were written.
func (g *Growing) Size() int64 { return g.size }

// End tells those who follow that nothing more is written: that the file is complete, or that the writing broke off.
// Only the first call counts.
func (g *Growing) End(complete bool) {
	state := dropped
	if complete {
		state = committed
	}
	g.progress.set(g.size, state)
}

// Follow reads the file from its beginning, and to its end when that was written. Where the writing breaks off, reading
// ends with an error.
func (g *Growing) Follow() (*Follower, error) { return follow(g.f, g.progress) }

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

// wait waits until there is more than pos, or nothing more to come. It ends too when closed, which the lock is for, is
// true.
func (p *progress) wait(pos int64, closed *bool) (offset int64, state ingestState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.offset <= pos && p.state == writing && !*closed {
		p.moved.Wait()
	}
	return p.offset, p.state
}

func (p *progress) now() ingestState {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

// Follower reads what an Ingest or a Growing has written and writes. Its end comes only once the blob is committed, so
// who reads it to the end has read bytes whose digest is right.
type Follower struct {
	f      *os.File  // of its own: who writes closes his file when he is done
	p      *progress // of the Ingest as it was then
	pos    int64
	closed bool // p.mu is for it
}

// Follow reads the blob from its beginning while it is written. Where the writing breaks off, or begins anew, reading
// ends with an error.
func (in *Ingest) Follow() (*Follower, error) {
	r, err := follow(in.f, in.progress)
	if err != nil {
		return nil, fmt.Errorf("reading blob %s: %w", in.digest, err)
	}
	return r, nil
}

func follow(f *os.File, p *progress) (*Follower, error) {
	own, err := os.Open(f.Name())
	if err != nil {
		return nil, err
	}
	return &Follower{f: own, p: p}, nil
}

// Again reads from the beginning once more, whatever name the file has by now.
func (r *Follower) Again() (*Follower, error) {
	fd, err := unix.FcntlInt(r.f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	return &Follower{f: os.NewFile(uintptr(fd), r.f.Name()), p: r.p}, nil
}

// Read implements io.Reader.
func (r *Follower) Read(b []byte) (int, error) {
	offset, state := r.p.wait(r.pos, &r.closed)
	switch {
	case state == dropped:
		return 0, errDropped
	case r.pos >= offset && state == writing:
		return 0, os.ErrClosed
	case r.pos >= offset:
		return 0, io.EOF
	}
	n, err := r.f.ReadAt(b[:min(int64(len(b)), offset-r.pos)], r.pos)
	r.pos += int64(n)
	if n > 0 {
		return n, nil
	}
	return 0, err
}

// Close implements io.Closer. A Read that waits for more ends.
func (r *Follower) Close() error {
	r.p.mu.Lock()
	r.closed = true
	r.p.mu.Unlock()
	r.p.moved.Broadcast()
	return r.f.Close()
}

// Dropped says that the writing broke off, or began anew.
func (r *Follower) Dropped() bool {
	return r.p.now() == dropped
}
