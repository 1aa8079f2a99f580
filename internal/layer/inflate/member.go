package inflate

import (
	"hash/crc32"
	"io"
)

// The flags of a member's header (RFC 1952, 2.3.1).
const (
	flagHeaderSum = 1 << 1
	flagExtra     = 1 << 2
	flagName      = 1 << 3
	flagComment   = 1 << 4
)

// headerReader reads the bytes of a header, and sums them.
type headerReader struct {
	r   *Reader
	sum uint32
	err error
}

func (h *headerReader) next() byte {
	if h.err != nil {
		return 0
	}
	var b uint32
	if b, h.err = h.r.take(8); h.err != nil {
		return 0
	}
	h.sum = crc32.Update(h.sum, crc32.IEEETable, []byte{byte(b)})
	return byte(b)
}

func (h *headerReader) skipText() {
	for h.next() != 0 && h.err == nil {
	}
}

// beginMember begins with the next member.
func (r *Reader) beginMember() error {
	if err := r.readHeader(); err != nil {
		return err
	}
	r.read, r.wrote = 0, 0 // what was before is another member's
	r.member, r.block = member{begun: true}, block{}
	return nil
}

// readHeader reads the header of a member (RFC 1952, 2.3). io.EOF says that there is no other.
func (r *Reader) readHeader() error {
	if r.count == 0 && r.pos == r.end {
		if err := r.fill(); err == io.ErrUnexpectedEOF {
			return io.EOF
		} else if err != nil {
			return err
		}
	}
	h := &headerReader{r: r}
	magic := [3]byte{h.next(), h.next(), h.next()}
	if h.err == nil && magic != [3]byte{0x1f, 0x8b, 8} {
		return corrupt("it does not begin as gzip does")
	}
	flags := h.next()
	for range 6 { // the time, and what compressed it
		h.next()
	}
	if flags&flagExtra != 0 {
		for n := int(h.next()) + int(h.next())<<8; n > 0 && h.err == nil; n-- {
			h.next()
		}
	}
	if flags&flagName != 0 {
		h.skipText()
	}
	if flags&flagComment != 0 {
		h.skipText()
	}
	if flags&flagHeaderSum != 0 {
		sum := uint16(h.sum)
		if got := uint16(h.next()) | uint16(h.next())<<8; h.err == nil && got != sum {
			return corrupt("its header has another checksum")
		}
	}
	return h.err
}

// endMember compares a member with its trailer (RFC 1952, 2.3.1).
func (r *Reader) endMember() error {
	r.bits >>= r.count & 7
	r.count &^= 7
	sum, err := r.take(32)
	if err != nil {
		return err
	}
	size, err := r.take(32)
	if err != nil {
		return err
	}
	if sum != r.member.crc || size != r.member.size {
		return corrupt("its contents have another checksum")
	}
	r.member.begun = false
	return nil
}
