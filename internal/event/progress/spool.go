package progress

import (
	"io"
	"sync"
)

// spoolLimit is how many bytes may wait for a slow reader. Nothing is dropped: only beyond it does a writer
// wait.
const spoolLimit = 8 << 20

// spool writes to an output that may be slow, on a goroutine of its own.
type spool struct {
	out  io.Writer
	mu   sync.Mutex
	cond *sync.Cond
	buf  []byte
	end  bool
	err  error // of the first write that failed; later output is dropped
	done chan struct{}
}

func newSpool(out io.Writer) *spool {
	s := &spool{out: out, done: make(chan struct{})}
	s.cond = sync.NewCond(&s.mu)
	go s.run()
	return s
}

// Write queues p. It never fails: a reader that went away must not end the build.
func (s *spool) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.buf) > spoolLimit && s.err == nil {
		s.cond.Wait()
	}
	if s.err == nil && !s.end {
		s.buf = append(s.buf, p...)
		s.cond.Broadcast()
	}
	return len(p), nil
}

// Close returns once all is written.
func (s *spool) Close() {
	s.mu.Lock()
	s.end = true
	s.cond.Broadcast()
	s.mu.Unlock()
	<-s.done
}

func (s *spool) run() {
	defer close(s.done)
	var spare []byte
	for {
		s.mu.Lock()
		for len(s.buf) == 0 && !s.end {
			s.cond.Wait()
		}
		if len(s.buf) == 0 {
			s.mu.Unlock()
			return
		}
		p := s.buf
		s.buf = spare[:0]
		s.cond.Broadcast()
		s.mu.Unlock()

		_, err := s.out.Write(p)
		spare = p
		if err != nil {
			s.mu.Lock()
			s.err, s.buf = err, nil
			s.cond.Broadcast()
			s.mu.Unlock()
		}
	}
}
