package layer

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"os"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
)

// Table is what tables of contents have in common, be they decoded or not. Entries are in the order of Compare.
type Table interface {
	// All gives the entries. Each is valid until the next one, and must not be changed. See Err.
	All() iter.Seq[*Entry]
	// Err is the error with which the entries could not be read back from where they are kept: All has ended early
	// then, and what else is made of all entries is wrong.
	Err() error
	// Len is how many there are.
	Len() int
	// Size is the sum of the sizes of the regular files in bytes.
	Size() int64
	// ContentID is the digest of everything but the times and the offsets. See Err.
	ContentID() digest.Digest
	// Encode writes the form that TOC.Decode reads.
	Encode(w io.Writer) error
}

var _, _ Table = (*TOC)(nil), (*Encoded)(nil)

// maxPiece is how many bytes of encoded entries share an allocation, and maxHeld how many such pieces are in memory of
// a table that can be written to a file.
const (
	maxPiece = 64 << 10
	maxHeld  = 16
)

// Encoded is a table of contents in its encoded form: some 65 bytes an entry, where a TOC takes 250, of which only the
// last few MiB are in memory if NewEncoded made it. It is made by Append, and decoded entry by entry. It has no hard
// links but those to an earlier entry.
type Encoded struct {
	pieces  [][]byte // of whole entries; each goes on where the one before ends
	n       int
	size    int64
	last    string // path of the last entry
	scratch []byte
	spilled spilled
}

// spilled are the first pieces of a table, in a file.
type spilled struct {
	open    func() (*os.File, error) // nil where all stays in memory
	file    *os.File                 // nil until there is something in it
	lengths []int                    // of the pieces
	free    [][]byte                 // pieces that can be filled again
	failure *failure                 // with which reading or writing failed; nil where there is no file
}

// failure is the first error of several goroutines.
type failure struct {
	mu  sync.Mutex
	err error
}

func (f *failure) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

func (f *failure) get() error {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// NewEncoded returns a table without entries, of which all but a few MiB go to the file that open opens, when there
// is more. See TempFile.
func NewEncoded(open func() (*os.File, error)) *Encoded {
	return &Encoded{spilled: spilled{open: open, failure: &failure{}}}
}

// TempFile gives NewEncoded a file in a directory, where it has no name: it goes with the process, or when nobody
// needs it.
func TempFile(dir string) func() (*os.File, error) {
	return func() (*os.File, error) {
		f, err := os.CreateTemp(dir, "table-")
		if err != nil {
			return nil, err
		}
		if err := os.Remove(f.Name()); err != nil {
			f.Close()
			return nil, err
		}
		return f, nil
	}
}

// Another is a table without entries that goes to files as this one does.
func (t *Encoded) Another() *Encoded { return NewEncoded(t.spilled.open) }

// Err implements Table.
func (t *Encoded) Err() error {
	if err := t.spilled.failure.get(); err != nil {
		return fmt.Errorf("keeping a table of contents in a file: %w", err)
	}
	return nil
}

// Append adds an entry behind all others. One that is not in order, or that no layer can have, is an error.
func (t *Encoded) Append(e *Entry) error {
	if t.n > 0 && Compare(t.last, e.Path) >= 0 {
		return fmt.Errorf("entry %q is out of order", clip(e.Path))
	}
	if t.n >= MaxEntries {
		return fmt.Errorf("the layer has more than the %d entries that strata accepts", MaxEntries)
	}
	if err := e.check(); err != nil {
		return err
	}
	t.scratch = appendEntry(t.scratch[:0], t.last, e, true)
	last := len(t.pieces) - 1
	if last < 0 || cap(t.pieces[last])-len(t.pieces[last]) < len(t.scratch) {
		if err := t.addPiece(len(t.scratch)); err != nil {
			return err
		}
		last = len(t.pieces) - 1
	}
	t.pieces[last] = append(t.pieces[last], t.scratch...)
	t.n, t.last = t.n+1, e.Path
	if e.Type == File {
		t.size += e.Size
	}
	return nil
}

// addPiece makes room for an entry.
func (t *Encoded) addPiece(length int) error {
	s := &t.spilled
	if s.open != nil && len(t.pieces) >= maxHeld {
		for _, piece := range t.pieces {
			s.write(piece)
		}
		t.pieces = t.pieces[:0]
	}
	if n := len(s.free); n > 0 && length <= cap(s.free[n-1]) {
		t.pieces, s.free = append(t.pieces, s.free[n-1]), s.free[:n-1]
		return t.Err()
	}
	size := 4 << 10
	if last := len(t.pieces) - 1; last >= 0 {
		size = min(maxPiece, 2*cap(t.pieces[last]))
	}
	t.pieces = append(t.pieces, make([]byte, 0, max(size, length)))
	return t.Err()
}

// write adds a piece to the file.
func (s *spilled) write(piece []byte) {
	err := s.failure.get()
	if s.file == nil && err == nil {
		s.file, err = s.open()
	}
	if err == nil {
		_, err = s.file.Write(piece)
	}
	if err != nil {
		s.failure.note(err)
	}
	s.lengths, s.free = append(s.lengths, len(piece)), append(s.free, piece[:0])
}

// all gives the pieces in the file, and then others. Each is valid until the next one. Several goroutines can go
// through them at once.
func (s *spilled) all(rest [][]byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		var buf []byte
		at := int64(0)
		for _, n := range s.lengths {
			buf = slices.Grow(buf[:0], n)[:n]
			err := s.failure.get()
			if err == nil {
				_, err = s.file.ReadAt(buf, at)
			}
			if err != nil {
				s.failure.note(err)
				return
			}
			if !yield(buf) {
				return
			}
			at += int64(n)
		}
		for _, piece := range rest {
			if !yield(piece) {
				return
			}
		}
	}
}

// Len implements Table.
func (t *Encoded) Len() int { return t.n }

// Size implements Table.
func (t *Encoded) Size() int64 { return t.size }

// All implements Table. See Err.
func (t *Encoded) All() iter.Seq[*Entry] { return entriesIn(t.spilled.all(t.pieces)) }

// Drain is All for the last time: what was given is forgotten. Err tells of it as well.
func (t *Encoded) Drain() iter.Seq[*Entry] {
	old := *t
	*t = Encoded{spilled: spilled{failure: old.spilled.failure}}
	return entriesIn(func(yield func([]byte) bool) {
		old.spilled.free = nil
		for piece := range old.spilled.all(nil) {
			if !yield(piece) {
				return
			}
		}
		if t.Err() != nil {
			return
		}
		if old.spilled.file != nil {
			old.spilled.file.Close() // it has no name
		}
		for i, piece := range old.pieces {
			if old.pieces[i] = nil; !yield(piece) {
				return
			}
		}
	})
}

func entriesIn(pieces iter.Seq[[]byte]) iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		d, e := &decoder{}, new(Entry)
		for piece := range pieces {
			for d.data = piece; len(d.data) > 0; {
				*e = Entry{}
				if d.entry(e); !yield(e) {
					return
				}
			}
		}
	}
}

// ContentID implements Table.
func (t *Encoded) ContentID() digest.Digest { return contentID(t.All()) }

// Encode implements Table.
func (t *Encoded) Encode(w io.Writer) error {
	sum := crc32.New(castagnoli())
	b := bufio.NewWriterSize(io.MultiWriter(sum, w), 64<<10)
	b.Write(binary.AppendUvarint([]byte(tocMagic), uint64(t.n)))
	for piece := range t.spilled.all(t.pieces) {
		b.Write(piece) // an error stays until Flush
	}
	err := b.Flush()
	if err == nil {
		err = t.Err()
	}
	if err == nil {
		_, err = w.Write(binary.LittleEndian.AppendUint32(nil, sum.Sum32()))
	}
	if err != nil {
		return fmt.Errorf("writing table of contents: %w", err)
	}
	return nil
}

// Encoded is the same table in its encoded form.
func (t *TOC) Encoded() (*Encoded, error) {
	encoded := &Encoded{}
	for _, e := range t.Entries {
		if err := encoded.Append(e); err != nil {
			return nil, err
		}
	}
	return encoded, nil
}

// Err implements Table: all is in memory.
func (t *TOC) Err() error { return nil }

// All implements Table.
func (t *TOC) All() iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		for _, e := range t.Entries {
			if !yield(e) {
				return
			}
		}
	}
}

// Len implements Table.
func (t *TOC) Len() int { return len(t.Entries) }

// contentID is that of the entries of a Table.
func contentID(entries iter.Seq[*Entry]) digest.Digest {
	h := sha256.New()
	h.Write([]byte("strata content 1\n"))
	buf := make([]byte, 0, 64<<10)
	prev := ""
	for e := range entries {
		buf = appendEntry(buf, prev, e, false)
		prev = e.Path
		if len(buf) > 60<<10 {
			h.Write(buf)
			buf = buf[:0]
		}
	}
	h.Write(buf)
	return digest.NewDigest(digest.SHA256, h)
}
