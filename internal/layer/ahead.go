package layer

import (
	"io"
	"sync"
)

// aheadReader reads from another reader before it is asked, on another core where there is one: what decompresses is
// as busy as who hashes and writes what comes out.
type aheadReader struct {
	from   io.ReadCloser
	blocks chan aheadBlock
	free   chan []byte
	block  []byte // that is being read
	rest   []byte // of it
	err    error
	stop   chan struct{}
	once   sync.Once // closes stop
	ended  chan struct{}
}

type aheadBlock struct {
	data []byte
	err  error
}

// How much is read ahead: so many blocks of so many bytes.
const (
	aheadBlocks = 4
	aheadBytes  = 256 << 10
)

// readAhead begins to read. Close waits until a call of from's Read has returned, and closes from.
func readAhead(from io.ReadCloser) io.ReadCloser {
	a := &aheadReader{
		from: from, blocks: make(chan aheadBlock, aheadBlocks), free: make(chan []byte, aheadBlocks+1),
		stop: make(chan struct{}), ended: make(chan struct{}),
	}
	for range aheadBlocks {
		a.free <- make([]byte, aheadBytes)
	}
	go a.run()
	return a
}

func (a *aheadReader) run() {
	defer close(a.ended)
	for {
		var buf []byte
		select {
		case buf = <-a.free:
		case <-a.stop:
			return
		}
		n, err := fill(a.from, buf)
		select {
		case a.blocks <- aheadBlock{buf[:n], err}:
		case <-a.stop:
			return
		}
		if err != nil {
			return
		}
	}
}

// fill reads until buf is full or there is an error, which it returns as it is.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var read int
		read, err = r.Read(buf[n:])
		n += read
	}
	return n, err
}

func (a *aheadReader) Read(p []byte) (int, error) {
	for len(a.rest) == 0 {
		if a.err != nil {
			return 0, a.err
		}
		if a.block != nil {
			a.free <- a.block[:aheadBytes]
		}
		b := <-a.blocks
		a.block, a.rest, a.err = b.data, b.data, b.err
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

func (a *aheadReader) Close() error {
	a.once.Do(func() { close(a.stop) })
	<-a.ended
	return a.from.Close()
}
