package layer

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"slices"

	"github.com/opencontainers/go-digest"
)

// Table is what tables of contents have in common, be they decoded or not. Entries are in the order of Compare.
type Table interface {
	// All gives the entries. Each is valid until the next one, and must not be changed.
	All() iter.Seq[*Entry]
	// Len is how many there are.
	Len() int
	// Size is the sum of the sizes of the regular files in bytes.
	Size() int64
	// ContentID is the digest of everything but the times and the offsets.
	ContentID() digest.Digest
	// Encode writes the form that TOC.Decode reads.
	Encode(w io.Writer) error
}

var _, _ Table = (*TOC)(nil), (*Encoded)(nil)

// maxPiece is how many bytes of encoded entries share an allocation.
const maxPiece = 64 << 10

// Encoded is a table of contents in its encoded form: some 65 bytes an entry, where a TOC takes 250. It is made by
// Append, and decoded entry by entry. It has no hard links but those to an earlier entry.
type Encoded struct {
	pieces  [][]byte // of whole entries; each goes on where the one before ends
	n       int
	size    int64
	last    string // path of the last entry
	scratch []byte
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
		size := 4 << 10
		if last >= 0 {
			size = min(maxPiece, 2*cap(t.pieces[last]))
		}
		t.pieces = append(t.pieces, make([]byte, 0, max(size, len(t.scratch))))
		last++
	}
	t.pieces[last] = append(t.pieces[last], t.scratch...)
	t.n, t.last = t.n+1, e.Path
	if e.Type == File {
		t.size += e.Size
	}
	return nil
}

// Len implements Table.
func (t *Encoded) Len() int { return t.n }

// Size implements Table.
func (t *Encoded) Size() int64 { return t.size }

// All implements Table.
func (t *Encoded) All() iter.Seq[*Entry] { return entriesIn(slices.Values(t.pieces)) }

// Drain is All for the last time: what was given is forgotten.
func (t *Encoded) Drain() iter.Seq[*Entry] {
	pieces := t.pieces
	*t = Encoded{}
	return entriesIn(func(yield func([]byte) bool) {
		for i, piece := range pieces {
			if pieces[i] = nil; !yield(piece) {
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
	for _, piece := range t.pieces {
		b.Write(piece) // an error stays until Flush
	}
	err := b.Flush()
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
