package registry

import (
	"context"
	"io"
	"sync"
	"time"
)

// A large blob that comes slowly is fetched over several connections: many registries, and the storage that they send
// clients to, give each connection only so much, and far away one alone does not fill the line. The parts come in any
// order and are passed on in their own, so that whoever hashes and unpacks the blob sees no difference.

const (
	// spreadProbe is how many bytes of a blob are read before it is known to come slowly.
	spreadProbe = 2 << 20
	// slowConnection is what slow is, in bytes a second: unpacking takes twice as many, and a registry's storage
	// often gives a connection less.
	slowConnection = 64 << 20
	// slowLine is what is too slow, in bytes a second: more connections only share such a line.
	slowLine = 256 << 10
	// leastPart and mostPart bound how much is asked for at a time, in bytes, which is kept in memory. It is what
	// one connection brings in a second.
	leastPart = 256 << 10
	mostPart  = 4 << 20
	// spreadParts is how many parts are asked for at a time, each on a connection of its own. So many have to be
	// left for it.
	spreadParts = 4
)

// spreadReader reads a blob over one connection, or several where that is slow: one blob of a client at a time.
type spreadReader struct {
	*blobReader
	read    int64         // over the one connection
	waited  time.Duration // for that
	decided bool          // whether there are to be several
	used    bool          // some of the blob came over others

	ctx    context.Context // of the parts
	cancel context.CancelFunc
	parts  []*part // that are asked for, in order; the first has the blob's position
	next   int64   // where the part after these begins
	size   int64   // of a part, in bytes
	failed bool    // one of them, so that no more are asked for
}

// part is a part of a blob that comes over a connection of its own.
type part struct {
	to int64 // in the blob, which it is up to

	mu    sync.Mutex
	moved *sync.Cond // data or ended
	data  []byte     // that came and was not passed on
	ended bool       // no more comes: all of it did, or it failed
}

// Read implements io.Reader.
func (s *spreadReader) Read(p []byte) (int, error) {
	if len(s.parts) > 0 {
		return s.readPart(p)
	}
	began := time.Now()
	n, err := s.blobReader.Read(p)
	if s.waited, s.read = s.waited+time.Since(began), s.read+int64(n); !s.decided && s.read >= spreadProbe {
		s.decided = true
		s.begin()
	}
	return n, err
}

// begin asks for the first parts, if one connection is slow and much is left.
func (s *spreadReader) begin() {
	rate := float64(s.read) / max(s.waited, 1).Seconds()
	s.size = int64(min(max(rate, leastPart), mostPart))
	if rate > s.client.slow || rate < slowLine || s.desc.Size-s.pos < spreadParts*s.size || len(s.endpoints) == 0 ||
		!s.client.spreading.CompareAndSwap(false, true) {
		return
	}
	s.ctx, s.cancel = context.WithCancel(s.blobReader.ctx)
	s.next = s.pos
	for range spreadParts {
		s.ask()
	}
}

// ask begins to fetch another part, if there is one.
func (s *spreadReader) ask() {
	from, to := s.next, min(s.next+s.size, s.desc.Size)
	if from == to || s.failed || len(s.endpoints) == 0 {
		return
	}
	s.next = to
	p, e := &part{to: to, data: make([]byte, 0, to-from)}, s.endpoints[0]
	p.moved = sync.NewCond(&p.mu)
	s.parts = append(s.parts, p)
	go func() {
		defer p.end()
		body, err := e.openPart(s.ctx, s.ref, s.desc, from, to)
		if err != nil {
			return
		}
		defer body.Close()
		io.CopyBuffer(p, io.LimitReader(body, to-from), make([]byte, 64<<10))
	}()
}

// Write implements io.Writer, for who fetches the part.
func (p *part) Write(data []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.data = append(p.data, data...)
	p.moved.Signal()
	return len(data), nil
}

func (p *part) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.moved.Signal()
}

// take waits for bytes of the part. There are none if it failed before its end.
func (p *part) take(to []byte) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.data) == 0 && !p.ended {
		p.moved.Wait()
	}
	n := copy(to, p.data)
	p.data = p.data[n:]
	return n
}

// wait waits until nobody fetches the part.
func (p *part) wait() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.ended {
		p.moved.Wait()
	}
}

// readPart reads of the first part, as it comes. What is missing of one that failed comes over the one connection,
// and then what came of those after it.
func (s *spreadReader) readPart(p []byte) (n int, err error) {
	first := s.parts[0]
	if len(p) == 0 {
		return 0, nil
	}
	if n = first.take(p); n > 0 {
		s.disconnect() // the one connection is where this part began, and would have gone on
		s.pos, s.tries, s.used = s.pos+int64(n), 0, true
	} else {
		s.failed = true
		n, err = s.blobReader.Read(p[:min(int64(len(p)), first.to-s.pos)])
	}
	if s.pos == first.to {
		s.parts = s.parts[1:]
		s.ask()
	}
	if len(s.parts) == 0 {
		s.stop()
	}
	return n, err
}

// stop ends the use of several connections.
func (s *spreadReader) stop() {
	if s.cancel == nil {
		return
	}
	s.cancel()
	for _, p := range s.parts {
		p.wait()
	}
	s.parts, s.cancel = nil, nil
	s.client.spreading.Store(false)
}
