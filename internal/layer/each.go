package layer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// window is how much of an encoded TOC EachEntry holds at a time, in bytes, unless one entry is larger.
const window = 64 << 10

// EachEntry reads what Encode wrote, and calls fn for one entry after the other, in canonical order. An Entry is valid
// during its call only. Unlike Decode it holds no more than one entry, whatever the layer's size, and checks the
// entries and their order but not where hard links lead. The checksum comes last: what fn was told is sound
// only if the error is nil. An error of fn ends the reading and is returned as it is.
func EachEntry(r io.Reader, fn func(*Entry) error) error {
	entries := NewEntryReader(r)
	for {
		e, err := entries.Next()
		if e == nil || err != nil {
			return err
		}
		if err := fn(e); err != nil {
			return err
		}
	}
}

// EntryReader reads what Encode wrote entry by entry, as EachEntry does.
type EntryReader struct {
	s    *stream
	d    decoder
	e    Entry
	prev string
	left uint64 // entries that follow
	open bool   // the head was read
	any  bool   // there was an entry
}

// NewEntryReader reads from r as it is asked for entries.
func NewEntryReader(r io.Reader) *EntryReader {
	return &EntryReader{s: &stream{r: r, sum: crc32.New(castagnoli())}}
}

// Next is the next entry, which is valid until it is called again; nil behind the last, if the checksum is right.
func (r *EntryReader) Next() (*Entry, error) {
	if !r.open {
		if err := r.head(); err != nil {
			return nil, err
		}
	}
	if r.left == 0 {
		return nil, r.s.end()
	}
	r.left--
	if err := r.s.entry(&r.d, &r.e); err != nil {
		return nil, err
	}
	if r.any && Compare(r.prev, r.e.Path) >= 0 {
		return nil, fmt.Errorf("%w: entry %q is out of order", errTOC, clip(r.e.Path))
	}
	if err := r.e.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", errTOC, err)
	}
	r.prev, r.any = r.e.Path, true
	return &r.e, nil
}

// head reads what comes before the entries.
func (r *EntryReader) head() error {
	if err := r.s.fill(len(tocMagic) + binary.MaxVarintLen64); err != nil {
		return err
	}
	magic, ok := bytes.CutPrefix(r.s.data, []byte(tocMagic))
	if !ok {
		return fmt.Errorf("%w, or another version of strata wrote it: it does not begin with %q", errTOC, tocMagic)
	}
	head := decoder{data: magic}
	if r.left = head.uint(MaxEntries); head.bad {
		return fmt.Errorf("%w: it does not say how many entries it has", errTOC)
	}
	r.s.take(len(r.s.data) - len(head.data))
	r.open = true
	return nil
}

// stream is the encoded form, of which only a part is in memory.
type stream struct {
	r    io.Reader
	data []byte // read and not taken yet
	sum  interface {
		io.Writer
		Sum32() uint32
	}
	eof  bool
	path []byte // of the entry before, for as long as one is tried again
}

// fill sees to it that data has n bytes, or all there are.
func (s *stream) fill(n int) error {
	if s.eof || len(s.data) >= n {
		return nil
	}
	grown := make([]byte, max(window, 2*n))
	have := copy(grown, s.data)
	got, err := io.ReadFull(s.r, grown[have:])
	s.data = grown[:have+got]
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		s.eof = true
		err = nil
	}
	if err != nil {
		return fmt.Errorf("reading table of contents: %w", err)
	}
	return nil
}

// take counts n bytes as read.
func (s *stream) take(n int) {
	s.sum.Write(s.data[:n])
	s.data = s.data[n:]
}

// entry decodes the next entry into e, with as much of the stream as it needs. d remembers the path of the one before.
func (s *stream) entry(d *decoder, e *Entry) error {
	s.path = append(s.path[:0], d.path...)
	for want := window / 8; ; want *= 2 {
		if err := s.fill(want); err != nil {
			return err
		}
		d.data, d.bad, d.path, *e = s.data, false, append(d.path[:0], s.path...), Entry{}
		d.entry(e)
		if !d.bad {
			s.take(len(s.data) - len(d.data))
			return nil
		}
		if s.eof || want > maxEncoded {
			return fmt.Errorf("%w: it ends in the middle of an entry, or the entry is damaged", errTOC)
		}
	}
}

// end checks the checksum, after which nothing may come.
func (s *stream) end() error {
	if err := s.fill(5); err != nil {
		return err
	}
	if len(s.data) != 4 || binary.LittleEndian.Uint32(s.data) != s.sum.Sum32() {
		return fmt.Errorf("%w: its checksum is wrong", errTOC)
	}
	return nil
}
