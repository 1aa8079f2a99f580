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
)

// Earlier is a tar that WriteTarFile or AssembleTarFile made, of which another one is to be assembled: that of a COPY
// whose files changed. The TOC has the tar's offsets.
type Earlier struct {
	Tar       io.ReaderAt
	TOC       *TOC
	Midstates *Midstates
	// Delta says which bytes of the tar are in a base; nil of a tar that is a file of its own, and can be one.
	Delta *TarDelta
}

// ErrEarlier says that a tar is not what its midstates and its TOC say: somebody has damaged it, or writes to it.
var ErrEarlier = errors.New("the tar of an earlier layer is not as it was written")

// Assembly is how the tar of a TOC is made of an earlier one.
type Assembly struct {
	earlier *Earlier
	toc     *TOC
	parts   []part
	// Fresh is how many bytes of files come from elsewhere.
	Fresh int64
}

// part is a run of a TOC's entries, and where their bytes are in the earlier tar; from is -1 where they are not in it.
type part struct {
	entries  []*Entry
	before   []*Entry // the same ones in the earlier TOC
	from, to int64
}

// minPart is how many bytes are copied out of an earlier tar at a time at least: for less, it is read anew.
const minPart = 64 << 10

// Assemble compares a TOC, which it takes over, with an earlier one. It is nil where the two have less than a quarter
// of the bytes in common, or if the earlier TOC cannot be that of its tar.
func Assemble(t *TOC, b *Earlier) *Assembly {
	a := &Assembly{earlier: b, toc: t}
	at, next, k := int64(0), 0, 0 // in the earlier tar, in t, and in the earlier TOC
	for old, now := range MergeTOCs(b.TOC, t) {
		end := at
		if old != nil {
			var err error
			if end, err = endInTar(old, at); err != nil || end > b.Midstates.Size {
				return nil
			}
		}
		if now != nil {
			same := old != nil && (old.Type != File || old.Digest != "") && Differences(old, now) == 0
			p := part{entries: t.Entries[next : next+1], from: -1, to: -1}
			if same {
				p.before, p.from, p.to = b.TOC.Entries[k:k+1], at, end
			}
			a.add(p)
			next++
		}
		if old != nil {
			k++
		}
		at = end
	}
	if at+tarTrailer != b.Midstates.Size {
		return nil
	}
	a.join()
	var shared int64
	for i := range a.parts {
		if p := &a.parts[i]; p.from >= 0 {
			shared += p.to - p.from
			continue
		}
		for _, e := range a.parts[i].entries {
			a.Fresh += e.Size
		}
	}
	if shared < a.Fresh/3 || shared == 0 { // WriteTarFile is quicker
		return nil
	}
	return a
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
// in its TOC.
func (a *Assembly) add(p part) {
	n := len(a.parts)
	if n == 0 || a.parts[n-1].to != p.from {
		a.parts = append(a.parts, p)
		return
	}
	last := &a.parts[n-1]
	last.entries = last.entries[:len(last.entries)+1]
	last.before = last.before[:len(last.before)+len(p.before)]
	last.to = p.to
}

// join makes one part of neighbours that are made anew, among them those of which too little is in the earlier tar.
func (a *Assembly) join() {
	joined := a.parts[:0]
	for _, p := range a.parts {
		if p.from >= 0 && p.to-p.from < minPart {
			p.from, p.to, p.before = -1, -1, nil
		}
		if n := len(joined); n > 0 && p.from < 0 && joined[n-1].from < 0 {
			joined[n-1].entries = joined[n-1].entries[:len(joined[n-1].entries)+len(p.entries)]
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

// WriteTarFile writes the tar into a new file, at its beginning, and says what was written: exactly what WriteTarFile
// of the TOC would write. The TOC's files get their offsets. What the earlier tar has of it is copied, and compared
// with its checksums on the way; ErrEarlier if it is other bytes. open gets the other entries.
func (a *Assembly) WriteTarFile(ctx context.Context, f *os.File, open OpenFunc) (*Tar, error) {
	return a.write(ctx, tarSinks{w: NewBehind(f, 0)}, open)
}

func (a *Assembly) write(ctx context.Context, to tarSinks, open OpenFunc) (*Tar, error) {
	sum := newTarSum()
	resumed, err := sum.resume(a.earlier.Midstates, a.prefix())
	if err != nil {
		return nil, err
	}
	to.hash, to.hashed, to.toc = sum, resumed, a.toc // no copy of it, which has one entry a file
	runs := a.runs
	if to.delta != nil {
		runs = func(described []*Entry, yield func(*run) error) error { return a.deltaRuns(described, resumed, yield) }
	}
	size, err := writeTar(ctx, to, runs, &origin{open: open, earlier: a.earlier})
	if err != nil {
		return nil, err
	}
	t := &Tar{Size: size, TOC: a.toc}
	t.DiffID, t.Midstates = sum.end()
	return t, nil
}

// Own is about how many bytes WriteDelta writes: those of files, their padding and headers that are not in the base.
func (a *Assembly) Own() int64 {
	n := int64(0)
	for i := range a.parts {
		p := &a.parts[i]
		if p.from < 0 {
			for _, e := range p.entries {
				n += TarBlock + padded(e.Size)
			}
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
	made, err := a.write(ctx, tarSinks{w: NewBehind(own, 0), delta: d}, open)
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

// runs gives the parts in pieces of about one chunk.
func (a *Assembly) runs(described []*Entry, yield func(*run) error) error {
	return a.partRuns(described, yield, func(p *part, yield func(*run) error) error {
		return earlierRuns(run{from: p.from, to: p.to}, yield)
	})
}

// deltaRuns is runs where what is in the base is not written, nor read if it is among the first bytes, which are
// hashed already.
func (a *Assembly) deltaRuns(described []*Entry, hashed int64, yield func(*run) error) error {
	return a.partRuns(described, yield, func(p *part, yield func(*run) error) error {
		for s := range a.segments(p) {
			if s.base < 0 {
				if err := earlierRuns(run{from: s.from, to: s.to}, yield); err != nil {
					return err
				}
				continue
			}
			if unread := min(s.to, hashed); s.from < unread {
				if err := yield(&run{from: s.from, to: unread, based: &based{from: s.base, unread: true}}); err != nil {
					return err
				}
				s.base, s.from = s.base+unread-s.from, unread
			}
			if err := earlierRuns(run{from: s.from, to: s.to, based: &based{from: s.base}}, yield); err != nil {
				return err
			}
		}
		return nil
	})
}

// partRuns gives the runs of all parts; earlier gives those of one that is in the earlier tar.
func (a *Assembly) partRuns(described []*Entry, yield func(*run) error, earlier func(*part, func(*run) error) error) error {
	for i := range a.parts {
		p := &a.parts[i]
		n := len(p.entries)
		if p.from < 0 {
			if err := entryRuns(p.entries, described[:n], yield); err != nil {
				return err
			}
			described = described[n:]
			continue
		}
		moved := described[:n]
		described = described[n:]
		for i, e := range p.before {
			if e.Type == File {
				moved[i].Offset = e.Offset - p.from
			}
		}
		err := earlier(p, func(r *run) error {
			r.moved, moved = moved, nil
			return yield(r)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// earlierRuns cuts a run of an earlier tar where its MiB end.
func earlierRuns(all run, yield func(*run) error) error {
	for at := all.from; at < all.to; {
		r := &run{from: at, to: min(all.to, at/stretch*stretch+stretch)}
		if all.based != nil {
			r.based = &based{from: all.based.from + at - all.from}
		}
		if err := yield(r); err != nil {
			return err
		}
		at = r.to
	}
	return nil
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
