package layer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"
)

// reader fills chunks. It owns chunksEach of them, so that a reader ahead of its turn never takes the last
// one from the reader whose turn it is.
type reader struct {
	ctx  context.Context
	from *origin
	home chan *chunk
	made int
	cur  *chunk
	out  chan<- *chunk
	head bytes.Buffer
	sum  hash.Hash
}

func readRuns(ctx context.Context, work <-chan *run, from *origin) error {
	r := &reader{ctx: ctx, from: from, home: make(chan *chunk, chunksEach), sum: sha256.New()}
	for run := range work {
		r.out = run.out
		if err := r.run(run); err != nil {
			return err
		}
		if err := r.flush(); err != nil {
			return err
		}
		close(run.out)
	}
	r.putBack()
	return nil
}

func (r *reader) run(run *run) error {
	if run.based != nil && run.based.unread {
		return nil
	}
	if run.entries == nil {
		return r.earlierChunk(run.from, run.to)
	}
	for i, e := range run.entries {
		var described *Entry
		if run.described != nil {
			described = run.described[i]
		}
		if err := r.entry(e, described); err != nil {
			return err
		}
	}
	return nil
}

// putBack waits for the chunks to come home and returns them to the pool. After an error they go with the reader.
func (r *reader) putBack() {
	for r.made > 0 {
		select {
		case c := <-r.home:
			chunkPool().Put(c)
			r.made--
		case <-r.ctx.Done():
			return
		}
	}
}

// entry appends an entry's header, contents and padding. described, if not nil, gets its offset and digest.
func (r *reader) entry(e, described *Entry) error {
	r.head.Reset()
	if err := appendHeader(&r.head, e); err != nil {
		return err
	}
	if err := r.write(r.head.Bytes()); err != nil {
		return err
	}
	if e.Type != File {
		return nil
	}
	if err := r.room(); err != nil {
		return err
	}
	if described != nil {
		r.cur.starts = append(r.cur.starts, start{described, len(r.cur.buf)})
	}
	if e.Size == 0 && e.Digest != "" {
		return nil
	}
	sum := described != nil && e.Digest == ""
	if err := r.contents(e, sum); err != nil {
		return err
	}
	if sum {
		described.Digest = digest.NewDigest(digest.SHA256, r.sum)
	}
	var zero [512]byte
	return r.write(zero[:(512-e.Size%512)%512])
}

// contents copies a file's contents, which must be Size bytes, and sums them into r.sum where that is asked for.
func (r *reader) contents(e *Entry, sum bool) error {
	f, err := r.from.open(r.ctx, e)
	if err != nil {
		return fmt.Errorf("opening contents of %q: %w", clip(e.Path), err)
	}
	defer f.Close()
	r.sum.Reset()
	for left := e.Size; left > 0; {
		if err := r.room(); err != nil {
			return err
		}
		n := len(r.cur.buf)
		got, err := f.Read(r.cur.buf[n:min(int64(cap(r.cur.buf)), int64(n)+left)])
		r.cur.buf = r.cur.buf[:n+got]
		left -= int64(got)
		if sum {
			r.sum.Write(r.cur.buf[n:])
		}
		if errors.Is(err, io.EOF) && left > 0 {
			return fmt.Errorf("%q got shorter while it was read: %d bytes are missing; build again when nothing writes to it", clip(e.Path), left)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading contents of %q: %w", clip(e.Path), err)
		}
	}
	var more [1]byte
	if n, _ := io.ReadFull(f, more[:]); n > 0 {
		return fmt.Errorf("%q got longer than %d bytes while it was read; build again when nothing writes to it", clip(e.Path), e.Size)
	}
	return nil
}

func (r *reader) write(b []byte) error {
	for len(b) > 0 {
		if err := r.room(); err != nil {
			return err
		}
		n := copy(r.cur.buf[len(r.cur.buf):cap(r.cur.buf)], b)
		r.cur.buf = r.cur.buf[:len(r.cur.buf)+n]
		b = b[n:]
	}
	return nil
}

// room sees to it that the current chunk has space.
func (r *reader) room() error {
	if r.cur != nil && len(r.cur.buf) < cap(r.cur.buf) {
		return nil
	}
	if err := r.flush(); err != nil {
		return err
	}
	if r.made < chunksEach && len(r.home) == 0 {
		r.cur = chunkPool().Get().(*chunk)
		r.cur.home = r.home
		r.made++
	} else {
		select {
		case r.cur = <-r.home:
		case <-r.ctx.Done():
			return r.ctx.Err()
		}
	}
	r.cur.buf, r.cur.from, r.cur.starts = r.cur.buf[:0], 0, r.cur.starts[:0]
	return nil
}

// flush passes the current chunk on.
func (r *reader) flush() error {
	if r.cur == nil {
		return nil
	}
	c := r.cur
	r.cur = nil
	select {
	case r.out <- c:
		return nil
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}
