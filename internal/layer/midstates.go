package layer

import (
	"bytes"
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"errors"
	"hash"
	"hash/crc32"

	"github.com/opencontainers/go-digest"
)

// stretch is how many bytes of a tar lie between two midstates: a chunk, so that whoever reads one can compare it.
const stretch = chunkSize

// midstateSize is the length of a running SHA-256 as Go marshals it, in bytes.
const midstateSize = 108

// midstatesMagic begins the encoded form.
const midstatesMagic = "strata midstates 1\n"

// Midstates are what is kept of a tar's SHA-256 while it is made: the running digest after each MiB, and the CRC-32C
// of each. With them the digest of a tar that begins with the same bytes goes on where these end, and bytes that are
// copied out of the tar are known to be those that were written. They take 112 bytes for each MiB.
type Midstates struct {
	DiffID digest.Digest // of the tar
	Size   int64         // its length in bytes

	marks []midstate // one for each full MiB
	tail  uint32     // CRC-32C of what follows the last of them
}

type midstate struct {
	hash [midstateSize]byte
	crc  uint32 // of the MiB that ends here
}

// Encode gives the form that DecodeMidstates reads: a line that says what it is, the length of the tar, the marks,
// the CRC of the rest, and the SHA-256 of all that and of the diffID. Numbers are little endian.
func (m *Midstates) Encode() []byte {
	b := make([]byte, 0, len(midstatesMagic)+len(m.marks)*(midstateSize+4)+8+4+sha256.Size)
	b = append(b, midstatesMagic...)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.Size))
	for i := range m.marks {
		b = binary.LittleEndian.AppendUint32(append(b, m.marks[i].hash[:]...), m.marks[i].crc)
	}
	b = binary.LittleEndian.AppendUint32(b, m.tail)
	sum := sumFor(b, m.DiffID)
	return append(b, sum[:]...)
}

// sumFor is the SHA-256 of what is kept of a tar, and of whose it is.
func sumFor(b []byte, diffID digest.Digest) [sha256.Size]byte {
	h := sha256.New()
	h.Write(b)
	h.Write([]byte(diffID))
	return [sha256.Size]byte(h.Sum(nil))
}

// DecodeMidstates reads what Encode made of the tar diffID; an error where a byte of it is another.
func DecodeMidstates(b []byte, diffID digest.Digest) (*Midstates, error) {
	errDamaged := errors.New("the midstates of the tar are damaged, or another version of strata wrote them")
	body, ok := bytes.CutPrefix(b, []byte(midstatesMagic))
	if !ok || len(body) < 8+4+sha256.Size {
		return nil, errDamaged
	}
	if end := len(b) - sha256.Size; sumFor(b[:end], diffID) != [sha256.Size]byte(b[end:]) {
		return nil, errDamaged
	}
	m := &Midstates{DiffID: diffID, Size: int64(binary.LittleEndian.Uint64(body))}
	body = body[8 : len(body)-sha256.Size]
	m.tail = binary.LittleEndian.Uint32(body[len(body)-4:])
	body = body[:len(body)-4]
	if m.Size < 0 || int64(len(body)) != m.Size/stretch*(midstateSize+4) {
		return nil, errDamaged
	}
	m.marks = make([]midstate, m.Size/stretch)
	for i := range m.marks {
		m.marks[i].hash = [midstateSize]byte(body)
		m.marks[i].crc = binary.LittleEndian.Uint32(body[midstateSize:])
		body = body[midstateSize+4:]
	}
	return m, nil
}

// crc is that of the MiB that begins at a place.
func (m *Midstates) crc(from int64) uint32 {
	if i := from / stretch; i < int64(len(m.marks)) {
		return m.marks[i].crc
	}
	return m.tail
}

// tarSum makes the SHA-256 of a tar, and its midstates.
type tarSum struct {
	hash hash.Hash
	crc  uint32
	size int64
	all  []midstate
}

func newTarSum() *tarSum { return &tarSum{hash: sha256.New()} }

// resume has the sum go on behind the first n bytes of the tar that m is of, or before them at the last place that
// has a midstate, which it returns.
func (s *tarSum) resume(m *Midstates, n int64) (int64, error) {
	at := min(n/stretch, int64(len(m.marks)))
	if at == 0 {
		return 0, nil
	}
	if err := s.hash.(encoding.BinaryUnmarshaler).UnmarshalBinary(m.marks[at-1].hash[:]); err != nil {
		s.hash = sha256.New() // as another Go writes them: all of it is hashed
		return 0, nil
	}
	s.all = append(s.all, m.marks[:at]...)
	s.size = at * stretch
	return s.size, nil
}

// Write never fails.
func (s *tarSum) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		some := p[:min(int64(len(p)), stretch-s.size%stretch)]
		s.hash.Write(some)
		s.crc = crc32.Update(s.crc, castagnoli(), some)
		s.size += int64(len(some))
		if p = p[len(some):]; s.size%stretch == 0 {
			s.mark()
		}
	}
	return n, nil
}

func (s *tarSum) mark() {
	m := midstate{crc: s.crc}
	s.crc = 0
	if b, err := s.hash.(encoding.BinaryAppender).AppendBinary(m.hash[:0]); err == nil && len(b) == midstateSize {
		s.all = append(s.all, m)
	}
}

// end gives what is known of the tar that was written.
func (s *tarSum) end() (digest.Digest, *Midstates) {
	d := digest.NewDigest(digest.SHA256, s.hash)
	if int64(len(s.all)) != s.size/stretch {
		return d, nil // Go's SHA-256 has got another form
	}
	return d, &Midstates{DiffID: d, Size: s.size, marks: s.all, tail: s.crc}
}
