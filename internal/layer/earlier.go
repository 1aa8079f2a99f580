package layer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"os"
	"path/filepath"
)

// Earlier is a tar that WriteTarFile or AssembleTarFile made, of which another one is to be assembled: that of a COPY
// whose files changed.
type Earlier struct {
	Tar io.ReaderAt
	// Next gives the entries of its table of contents, with the tar's offsets, one after the other; nil behind the
	// last.
	Next      func() (*Entry, error)
	Midstates *Midstates
	// Delta says which bytes of the tar are in a base; nil of a tar that is a file of its own, and can be one.
	Delta *TarDelta
}

// ErrEarlier says that a tar is not what its midstates and its TOC say: somebody has damaged it, or writes to it.
var ErrEarlier = errors.New("the tar of an earlier layer is not as it was written")

// Assembly is how the tar of a table of contents is made of an earlier one.
type Assembly struct {
	earlier *Earlier
	table   *Encoded
	parts   []part
	offsets []int64 // of each entry: where in the earlier tar its contents are, of files that are in it
	// Fresh is how many bytes of files come from elsewhere.
	Fresh int64
}

// part is a run of a table's entries, and where their bytes are in the earlier tar; from is -1 where they are not in
// it.
type part struct {
	entries  int
	size     int64 // bytes of files
	own      int64 // bytes of files, their padding and headers, about
	from, to int64
}

// minPart is how many bytes are copied out of an earlier tar at a time at least: for less, it is read anew.
const minPart = 64 << 10

// Assemble compares a table with that of an earlier tar. It is nil where the two have less than a quarter
// of the bytes in common, or if the earlier table cannot be read or be that of its tar.
func Assemble(t *Encoded, b *Earlier) *Assembly {
	a := &Assembly{earlier: b, table: t, offsets: make([]int64, 0, t.Len())}
	old := &earlierEntries{of: b}
	old.next()
	for now := range t.All() {
		for old.e != nil && Compare(old.e.Path, now.Path) < 0 {
			old.next()
		}
		p, offset := part{1, now.Size, TarBlock + padded(now.Size), -1, -1}, int64(0)
		if e := old.e; e != nil && e.Path == now.Path {
			if (e.Type != File || e.Digest != "") && Differences(e, now) == 0 {
				p.from, p.to, offset = old.at, old.end, e.Offset
			}
			old.next()
		}
		a.add(p)
		a.offsets = append(a.offsets, offset)
	}
	for old.e != nil {
		old.next()
	}
	if t.Err() != nil || old.bad || old.end+tarTrailer != b.Midstates.Size {
		return nil
	}
	a.join()
	var shared int64
	for _, p := range a.parts {
		if p.from >= 0 {
			shared += p.to - p.from
		} else {
			a.Fresh += p.size
		}
	}
	if shared < a.Fresh/3 || shared == 0 { // WriteEncodedTarFile is quicker
		return nil
	}
	return a
}

// earlierEntries goes through the entries of an earlier tar.
type earlierEntries struct {
	of      *Earlier
	e       *Entry // nil behind the last
	at, end int64  // where it is in the tar
	bad     bool   // the table cannot be read or be that of the tar
}

func (o *earlierEntries) next() {
	var err error
	if o.e, err = o.of.Next(); o.e != nil && err == nil {
		o.at = o.end
		o.end, err = endInTar(o.e, o.at)
	}
	if err != nil || o.end > o.of.Midstates.Size {
		o.e, o.bad = nil, true
	}
}

// endInTar is where in a tar an entry ends that begins at a place.
func endInTar(e *Entry, at int64) (int64, error) {
	// A header is one block, unless it has more to say than fits: then it is made, and measured.
	if e.Type == File && e.Offset == at+TarBlock {
		return e.Offset + padded(e.Size), nil
	}
	var head bytes.Buffer
	if err := appendHeader(&head, e); err != nil {
		return 0, err
	}
	end := at + int64(head.Len())
	if e.Type != File {
		return end, nil
	}
	if e.Offset != end {
		return 0, fmt.Errorf("%w: %q does not begin where it is said to", ErrEarlier, clip(e.Path))
	}
	return end + padded(e.Size), nil
}

// padded is how many bytes contents take in a tar.
func padded(size int64) int64 { return (size + TarBlock - 1) / TarBlock * TarBlock }

// add appends a part, or makes the last one longer if it goes on there. Entries that follow each other in a tar do so
// in its table of contents.
func (a *Assembly) add(p part) {
	n := len(a.parts)
	if n == 0 || a.parts[n-1].to != p.from {
		a.parts = append(a.parts, p)
		return
	}
	last := &a.parts[n-1]
	last.take(p)
	last.to = p.to
}

// take adds what another part has.
func (p *part) take(other part) {
	p.entries, p.size, p.own = p.entries+other.entries, p.size+other.size, p.own+other.own
}

// join makes one part of neighbours that are made anew, among them those of which too little is in the earlier tar.
func (a *Assembly) join() {
	joined := a.parts[:0]
	for _, p := range a.parts {
		if p.from >= 0 && p.to-p.from < minPart {
			p.from, p.to = -1, -1
		}
		if n := len(joined); n > 0 && p.from < 0 && joined[n-1].from < 0 {
			joined[n-1].take(p)
			continue
		}
		joined = append(joined, p)
	}
	a.parts = joined
}

// prefix is how many bytes the two tars begin with that are the same.
func (a *Assembly) prefix() int64 {
	if len(a.parts) > 0 && a.parts[0].from == 0 {
		return a.parts[0].to
	}
	return 0
}

// WriteTarFile writes the tar into a new file, at its beginning, and says what was written: exactly what
// WriteEncodedTarFile of the table would write. What the earlier tar has of it is copied, and compared
// with its checksums on the way; ErrEarlier if it is other bytes. open gets the other entries.
func (a *Assembly) WriteTarFile(ctx context.Context, f *os.File, open OpenFunc) (*Tar, error) {
	return a.write(ctx, tarSinks{w: NewBehind(f, 0), encoded: NewEncoded(TempFile(filepath.Dir(f.Name())))}, open)
}

func (a *Assembly) write(ctx context.Context, to tarSinks, open OpenFunc) (*Tar, error) {
	sum := newTarSum()
	resumed, err := sum.resume(a.earlier.Midstates, a.prefix())
	if err != nil {
		return nil, err
	}
	to.hash, to.hashed = sum, resumed
	cut := func(p *part) []*run { return earlierRuns(nil, run{from: p.from, to: p.to}) }
	if to.delta != nil {
		cut = func(p *part) []*run { return a.deltaRuns(p, resumed) }
	}
	runs := func(_ []*Entry, yield func(*run) error) error { return a.runs(cut, yield) }
	size, err := writeTar(ctx, to, runs, &origin{open: open, earlier: a.earlier})
	if err != nil {
		return nil, err
	}
	t := &Tar{Size: size, Encoded: to.encoded}
	t.DiffID, t.Midstates = sum.end()
	return t, nil
}

// Own is about how many bytes WriteDelta writes: those of files, their padding and headers that are not in the base.
func (a *Assembly) Own() int64 {
	n := int64(0)
	for i := range a.parts {
		p := &a.parts[i]
		if p.from < 0 {
			n += p.own
			continue
		}
		for s := range a.segments(p) {
			if s.base < 0 {
				n += s.to - s.from
			}
		}
	}
	return n
}

// WriteDelta writes into a new file what the tar that WriteTarFile would write has more than its base, which is that
// of the earlier tar, or the earlier tar itself. What is in the base and comes before all changes is not even read: the
// earlier tar must be as it was written.
func (a *Assembly) WriteDelta(ctx context.Context, own *os.File, open OpenFunc) (*Tar, error) {
	d := &TarDelta{Base: a.earlier.Midstates.DiffID, BaseSize: a.earlier.Midstates.Size}
	if e := a.earlier.Delta; e != nil {
		d.Base, d.BaseSize = e.Base, e.BaseSize
	}
	made, err := a.write(ctx, tarSinks{w: NewBehind(own, 0), delta: d, encoded: NewEncoded(TempFile(filepath.Dir(own.Name())))}, open)
	if err != nil {
		return nil, err
	}
	d.Size, made.Delta = made.Size, d
	return made, nil
}

// segment is a piece of an earlier tar, and where it begins in the base; -1 if it is not there, or too small.
type segment struct{ from, to, base int64 }

// segments are those of a part of the earlier tar.
func (a *Assembly) segments(p *part) iter.Seq[segment] {
	return func(yield func(segment) bool) {
		for at := p.from; at < p.to; {
			s := segment{at, p.to, at}
			if d := a.earlier.Delta; d != nil {
				inBase, from, n := d.Find(at)
				if s.to, s.base = min(p.to, at+n), from; !inBase {
					s.base = -1
				}
			}
			if s.to-s.from < minPart {
				s.base = -1
			}
			if at = s.to; !yield(s) {
				return
			}
		}
	}
}

// deltaRuns are the runs of a part of the earlier tar where what is in the base is not written, nor read if it is among
// the first bytes, which are hashed already.
func (a *Assembly) deltaRuns(p *part, hashed int64) (runs []*run) {
	for s := range a.segments(p) {
		if s.base < 0 {
			runs = earlierRuns(runs, run{from: s.from, to: s.to})
			continue
		}
		if unread := min(s.to, hashed); s.from < unread {
			runs = earlierRuns(runs, run{from: s.from, to: unread, based: &based{from: s.base, unread: true}})
			s.base, s.from = s.base+unread-s.from, unread
		}
		runs = earlierRuns(runs, run{from: s.from, to: s.to, based: &based{from: s.base}})
	}
	return runs
}

// earlierRuns cuts a run of an earlier tar where its MiB end, and appends what it gives.
func earlierRuns(runs []*run, all run) []*run {
	for at := all.from; at < all.to; {
		r := &run{from: at, to: min(all.to, at/stretch*stretch+stretch)}
		if all.based != nil {
			r.based = &based{all.based.from + at - all.from, all.based.unread}
		}
		runs = append(runs, r)
		at = r.to
	}
	return runs
}

// runs gives the runs of all parts in order; cut gives those of one that is in the earlier tar.
func (a *Assembly) runs(cut func(*part) []*run, yield func(*run) error) error {
	p := &pieces{parts: a.parts, cut: cut, yield: yield}
	i := 0
	for e := range a.table.All() {
		if err := p.add(e, a.offsets[i]); err != nil {
			return err
		}
		i++
	}
	if err := a.table.Err(); err != nil {
		return err
	}
	return p.finish()
}

// pieces gives the runs of the parts of an assembly, while the entries come in.
type pieces struct {
	parts []part // those that are not finished
	done  int    // entries of the first that have come
	cut   func(*part) []*run
	left  []*run // of the first part, if it is in the earlier tar
	moved *slab  // of entries that have come for the first of them; nil for none
	fresh gathered
	yield func(*run) error
}

// add takes the next entry. offset is where in the earlier tar its contents are.
func (p *pieces) add(e *Entry, offset int64) error {
	part := &p.parts[0]
	if part.from < 0 {
		if err := p.fresh.add(e, p.yield); err != nil {
			return err
		}
	} else {
		if p.done == 0 {
			p.left = p.cut(part)
		}
		for e.Type == File && offset > p.left[0].to {
			if err := p.give(); err != nil {
				return err
			}
		}
		copied := *e
		if copied.Offset = 0; e.Type == File {
			copied.Offset = offset - p.left[0].from
		}
		if p.moved == nil {
			p.moved = slabs.Get().(*slab)
		}
		p.moved.entries = append(p.moved.entries, copied)
	}
	if p.done++; p.done == part.entries {
		return p.finish()
	}
	return nil
}

// give gives the next run of the earlier tar, with the entries that came for it.
func (p *pieces) give() error {
	r := p.left[0]
	r.moved, p.moved, p.left = p.moved, nil, p.left[1:]
	return p.yield(r)
}

// finish gives what is left of the first part, which it is done with.
func (p *pieces) finish() error {
	if len(p.parts) == 0 {
		return nil
	}
	for len(p.left) > 0 {
		if err := p.give(); err != nil {
			return err
		}
	}
	p.parts, p.done = p.parts[1:], 0
	return p.fresh.flush(p.yield)
}

// earlierChunk reads a piece of the earlier tar into the current chunk, with the rest of the MiB that it lies in, of
// which the checksum is known.
func (r *reader) earlierChunk(from, to int64) error {
	if err := r.room(); err != nil {
		return err
	}
	m := r.from.earlier.Midstates
	begin := from / stretch * stretch
	buf := r.cur.buf[:min(stretch, m.Size-begin)]
	if n, err := r.from.earlier.Tar.ReadAt(buf, begin); n < len(buf) {
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: it has got shorter", ErrEarlier)
		}
		return fmt.Errorf("%w: %w", ErrEarlier, err)
	}
	if crc32.Checksum(buf, castagnoli()) != m.crc(begin) {
		return fmt.Errorf("%w: the MiB at %d has another checksum", ErrEarlier, begin)
	}
	r.cur.buf, r.cur.from = buf[:to-begin], int(from-begin)
	return nil
}
