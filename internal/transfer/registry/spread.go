package registry

import (
	"context"
	"io"
	"time"
)

// A large blob that comes slowly is fetched over several connections: many registries, and the storage that they send
// clients to, give each connection only so much, and far away one alone does not fill the line. The parts come in any
// order and are passed on in their own, so that whoever hashes and unpacks the blob sees no difference.

const (
	// spreadProbe is how many bytes of a blob are read before it is known to come slowly.
	spreadProbe = 2 << 20
	// slowConnection is what slow is, in bytes a second: unpacking takes twice as many, and a registry's storage often gives
	// a connection less.
	slowConnection = 64 << 20
	// spreadLeast is how much has to be left for it, in bytes.
	spreadLeast = 4 * spreadPart
	// spreadPart is how much is asked for at a time, in bytes, which is kept in memory.
	spreadPart = 4 << 20
	// spreadParts is how many parts are asked for at a time, each on a connection of its own.
	spreadParts = 4
)

// spreadReader reads a blob over one connection, or several where that is slow: one blob of a client at a time.
type spreadReader struct {
	*blobReader
	read    int64         // over the one connection
	waited  time.Duration // for that
	decided bool

	ctx    context.Context // of the parts
	cancel context.CancelFunc
	parts  []*part // that are asked for, in order
	next   int64   // where the part after these begins
	rest   []byte  // of the part before these
}

// part is a part of a blob that comes over a connection of its own.
type part struct {
	done chan struct{}
	data []byte // once it is done
	err  error
}

// Read implements io.Reader.
func (s *spreadReader) Read(p []byte) (int, error) {
	if len(s.rest) == 0 && len(s.parts) > 0 {
		s.takePart()
	}
	if len(s.rest) > 0 {
		n := copy(p, s.rest)
		s.rest = s.rest[n:]
		s.pos += int64(n)
		return n, nil
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
	if float64(s.read) > s.waited.Seconds()*s.client.slow || s.desc.Size-s.pos < spreadLeast || len(s.endpoints) == 0 ||
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
	from, to := s.next, min(s.next+spreadPart, s.desc.Size)
	if from == to {
		return
	}
	s.next = to
	p, e := &part{done: make(chan struct{})}, s.endpoints[0]
	s.parts = append(s.parts, p)
	go func() {
		defer close(p.done)
		body, err := e.openRange(s.ctx, s.ref, s.desc, from, to)
		if err != nil {
			p.err = err
			return
		}
		defer body.Close()
		p.data = make([]byte, to-from)
		_, p.err = io.ReadFull(body, p.data)
	}()
}

// takePart waits for the next part, and asks for another. If it cannot be had, one connection brings what is left.
func (s *spreadReader) takePart() {
	p := s.parts[0]
	<-p.done
	if p.err != nil {
		s.stop()
		return
	}
	s.disconnect() // the one connection is at this part's beginning, and would have gone on
	s.rest, s.parts, s.tries = p.data, s.parts[1:], 0
	s.ask()
}

// stop ends the use of several connections.
func (s *spreadReader) stop() {
	if s.cancel == nil {
		return
	}
	s.cancel()
	for _, p := range s.parts {
		<-p.done
	}
	s.parts, s.rest, s.cancel = nil, nil, nil
	s.client.spreading.Store(false)
}
