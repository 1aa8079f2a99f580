// Package inflate decompresses gzip (RFC 1952, RFC 1951) faster than the libraries that read byte by byte: it takes what fits
// of its input as 64 bits at a time, decodes up to three literals for each of these, and writes into one large window, from which it
// is read. Layers are large, and decompressing one is what a pull waits for.
package inflate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// ErrCorrupt says that the input is not gzip, or was damaged.
var ErrCorrupt = errors.New("the gzip stream is damaged")

const (
	history    = 32 << 10  // how far a match reaches back (RFC 1951, 2)
	windowSize = 512 << 10 // the history, and what is decompressed at a time
	inputSize  = 128 << 10
	maxMatch   = 258
	// slack is what a decoded symbol may write beyond the end of a match: it is copied 8 bytes at a time.
	slack = maxMatch + 16
	// spare is how much input the fast loop needs, in bytes: it refills three times for each match.
	spare = 32
)

// Reader decompresses a gzip stream of one or more members. It reads more of its input than it needs.
type Reader struct {
	from io.Reader
	err  error // of from, or what ended the stream; only once everything before it is read

	in       []byte
	pos, end int    // of what is in in and not taken
	bits     uint64 // taken from in, the next one lowest
	count    uint   // how many of these are valid
	inErr    error  // of from, after in

	window      []byte
	read, wrote int // up to where the window was read, and written

	member member
	block  block
	tables tables
}

// member is what is known of the gzip member that is read.
type member struct {
	begun  bool
	crc    uint32
	size   uint32
	summed int // up to where the window is in crc and size
}

// block is the deflate block that is read.
type block struct {
	kind   blockKind
	last   bool
	stored int // bytes of a stored block that are left
}

type blockKind int

const (
	noBlock blockKind = iota
	storedBlock
	codedBlock
)

// NewReader returns a Reader of from, whose first header it reads: an error is from's, or one of Read's. io.EOF is an empty stream.
func NewReader(from io.Reader) (*Reader, error) {
	r := &Reader{from: from, in: make([]byte, inputSize+8), window: make([]byte, windowSize+slack)}
	return r, r.beginMember()
}

// Read implements io.Reader. A stream that is damaged ends with an ErrCorrupt; one that is cut short with
// io.ErrUnexpectedEOF.
func (r *Reader) Read(p []byte) (int, error) {
	for r.read == r.wrote {
		if r.err != nil {
			return 0, r.err
		}
		if len(p) == 0 {
			return 0, nil
		}
		r.err = r.more()
	}
	n := copy(p, r.window[r.read:r.wrote])
	r.read += n
	return n, nil
}

// more decompresses until there is something to read, with what follows as far as the window has room.
func (r *Reader) more() error {
	if r.wrote >= windowSize-history {
		r.slide()
	}
	err := r.decode()
	r.sum()
	if err == errMemberEnd {
		err = r.endMember()
	}
	return err
}

// slide moves the history to the beginning of the window.
func (r *Reader) slide() {
	n := copy(r.window, r.window[r.wrote-history:r.wrote])
	r.read, r.wrote, r.member.summed = n, n, n
}

func (r *Reader) sum() {
	fresh := r.window[r.member.summed:r.wrote]
	r.member.crc = crc32.Update(r.member.crc, crc32.IEEETable, fresh)
	r.member.size += uint32(len(fresh))
	r.member.summed = r.wrote
}

var (
	errMemberEnd = errors.New("the member ends")
	errFull      = errors.New("the window is full")
)

// decode decompresses until the window is full, which is no error, or the member ends.
func (r *Reader) decode() error {
	if !r.member.begun {
		if err := r.beginMember(); err != nil {
			return err
		}
	}
	for {
		var err error
		switch r.block.kind {
		case noBlock:
			if r.block.last {
				return errMemberEnd
			}
			err = r.beginBlock()
		case storedBlock:
			err = r.copyStored()
		case codedBlock:
			err = r.decodeBlock()
		}
		if err == errFull {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// need sees to it that there are n bits, 32 at most.
func (r *Reader) need(n uint) error {
	for r.count < n {
		if r.pos == r.end {
			if err := r.fill(); err != nil {
				return err
			}
		}
		r.bits |= uint64(r.in[r.pos]) << r.count
		r.pos++
		r.count += 8
	}
	return nil
}

// take takes n bits, 32 at most.
func (r *Reader) take(n uint) (uint32, error) {
	if err := r.need(n); err != nil {
		return 0, err
	}
	v := uint32(r.bits & (1<<n - 1))
	r.bits >>= n
	r.count -= n
	return v, nil
}

// fill reads more input behind what is left of it. io.ErrUnexpectedEOF says that there is none.
func (r *Reader) fill() error {
	if r.pos > 0 {
		r.end = copy(r.in, r.in[r.pos:r.end])
		r.pos = 0
	}
	before := r.end
	for tries := 0; r.end == before; tries++ {
		if r.inErr != nil {
			if r.inErr == io.EOF {
				return io.ErrUnexpectedEOF
			}
			return r.inErr
		}
		var n int
		n, r.inErr = r.from.Read(r.in[r.end:inputSize])
		r.end += n
		if tries > 100 && n == 0 && r.inErr == nil {
			r.inErr = io.ErrNoProgress
		}
	}
	return nil
}

func corrupt(what string) error { return fmt.Errorf("%w: %s", ErrCorrupt, what) }

var (
	errSymbol   = corrupt("it has an unknown symbol")
	errDistance = corrupt("it has an unknown distance")
	errBefore   = corrupt("it repeats what is before its beginning")
)

// beginBlock reads the header of a deflate block (RFC 1951, 3.2.3).
func (r *Reader) beginBlock() error {
	head, err := r.take(3)
	if err != nil {
		return err
	}
	r.block = block{last: head&1 == 1, kind: codedBlock}
	switch head >> 1 {
	case 0:
		return r.beginStored()
	case 1:
		r.tables.fix()
		return nil
	case 2:
		return r.readTables()
	}
	return corrupt("it has a block of an unknown type")
}

// beginStored reads the length of a block that is not compressed (RFC 1951, 3.2.4).
func (r *Reader) beginStored() error {
	r.bits >>= r.count & 7
	r.count &^= 7
	v, err := r.take(32)
	if err != nil {
		return err
	}
	if v&0xffff != ^v>>16 {
		return corrupt("the length of a stored block is wrong")
	}
	r.block.kind, r.block.stored = storedBlock, int(v&0xffff)
	return nil
}

// copyStored copies what is left of a block that is not compressed.
func (r *Reader) copyStored() error {
	for r.block.stored > 0 {
		if r.wrote >= windowSize {
			return errFull
		}
		if r.count > 0 {
			b, err := r.take(8)
			if err != nil {
				return err
			}
			r.window[r.wrote] = byte(b)
			r.wrote++
			r.block.stored--
			continue
		}
		if r.pos == r.end {
			if err := r.fill(); err != nil {
				return err
			}
		}
		n := copy(r.window[r.wrote:min(windowSize, r.wrote+r.block.stored)], r.in[r.pos:r.end])
		r.pos += n
		r.wrote += n
		r.block.stored -= n
	}
	r.block.kind = noBlock
	return nil
}

// decodeBlock decodes symbols until the block ends or the window is full.
func (r *Reader) decodeBlock() error {
	for r.wrote < windowSize-maxMatch {
		for r.end-r.pos < spare && r.inErr == nil {
			_ = r.fill() // who needs what is not there meets the error
		}
		step := r.decodeOne
		if r.end-r.pos >= spare {
			step = r.decodeFast
		}
		if done, err := step(); done || err != nil {
			return err
		}
	}
	return errFull
}

// decodeFast decodes while input and window have as much as any symbol needs, so that nothing is asked for each. All is in local
// variables. It says whether the block ended.
func (r *Reader) decodeFast() (done bool, err error) {
	lit, dist := &r.tables.literal, &r.tables.distance
	in, out := r.in, r.window
	pos, stop := r.pos, r.end-spare
	o, full := r.wrote, windowSize-maxMatch
	acc, n := r.bits, r.count
decoding:
	for pos <= stop && o < full {
		// 56 bits at least are valid after this: three literals of 15 bits, or a length of 15+5, and a distance of 15+13.
		acc |= binary.LittleEndian.Uint64(in[pos:]) << (n & 63)
		pos += int((63 - n) >> 3)
		n |= 56
		e := lit.entries[acc&(1<<literalBits-1)]
		if e&literalFlag != 0 {
			acc >>= e & 63
			n -= uint(e & 63)
			out[o] = byte(e >> 16)
			o++
			e = lit.entries[acc&(1<<literalBits-1)]
			if e&literalFlag != 0 {
				acc >>= e & 63
				n -= uint(e & 63)
				out[o] = byte(e >> 16)
				o++
				e = lit.entries[acc&(1<<literalBits-1)]
				if e&literalFlag != 0 {
					acc >>= e & 63
					n -= uint(e & 63)
					out[o] = byte(e >> 16)
					o++
					continue
				}
			}
		}
		if e&specialFlag != 0 {
			if e&subtableFlag != 0 {
				acc >>= literalBits
				n -= literalBits
				e = lit.more[(e>>16&0x3fff)+uint32(acc)&(1<<(e>>8&15)-1)]
				if e&literalFlag != 0 {
					acc >>= e & 63
					n -= uint(e & 63)
					out[o] = byte(e >> 16)
					o++
					continue
				}
			}
			if e&specialFlag != 0 {
				acc >>= e & 63
				n -= uint(e & 63)
				if e&endFlag != 0 {
					done = true
					break decoding
				}
				err = errSymbol
				break decoding
			}
		}
		saved := acc
		acc >>= e & 63
		n -= uint(e & 63)
		length := int(e>>16&0x1ff) + int(saved&(1<<(e&63)-1)>>(e>>8&15))
		if n < 15+13 {
			acc |= binary.LittleEndian.Uint64(in[pos:]) << (n & 63)
			pos += int((63 - n) >> 3)
			n |= 56
		}
		e = dist.entries[acc&(1<<distanceBits-1)]
		if e&specialFlag != 0 {
			if e&subtableFlag != 0 {
				acc >>= distanceBits
				n -= distanceBits
				e = dist.more[(e>>16&0x3fff)+uint32(acc)&(1<<(e>>8&15)-1)]
			}
			if e&specialFlag != 0 {
				err = errDistance
				break decoding
			}
		}
		saved = acc
		acc >>= e & 63
		n -= uint(e & 63)
		distance := int(e>>16&0x7fff) + int(saved&(1<<(e&63)-1)>>(e>>8&15)) + 1
		from := o - distance
		if from < 0 {
			err = errBefore
			break decoding
		}
		copyMatch(out, o, from, length)
		o += length
	}
	r.pos, r.wrote = pos, o
	r.bits, r.count = acc&(1<<n-1), n // what is above was taken for nothing, and is read again
	if done {
		r.block.kind = noBlock
	}
	return done, err
}

// copyMatch repeats length bytes of the window at from, which may overlap, at o. Up to 7 bytes behind them are overwritten.
func copyMatch(out []byte, o, from, length int) {
	distance, end := o-from, o+length
	switch {
	case distance >= length && length > 32:
		copy(out[o:end], out[from:from+length])
	case distance >= 8:
		for o < end {
			binary.LittleEndian.PutUint64(out[o:], binary.LittleEndian.Uint64(out[from:]))
			o += 8
			from += 8
		}
	case distance == 1:
		v := uint64(out[from]) * 0x0101010101010101
		for o < end {
			binary.LittleEndian.PutUint64(out[o:], v)
			o += 8
		}
	default:
		for o < end {
			out[o] = out[from]
			o++
			from++
		}
	}
}

// decodeOne decodes one symbol near the end of the input. It says whether the block ended.
func (r *Reader) decodeOne() (done bool, err error) {
	e, err := r.symbol(r.tables.literal.entries[:], r.tables.literal.more[:], literalBits)
	if err != nil {
		return false, err
	}
	switch {
	case e&literalFlag != 0:
		r.window[r.wrote] = byte(e >> 16)
		r.wrote++
		return false, nil
	case e&endFlag != 0:
		r.block.kind = noBlock
		return true, nil
	case e&specialFlag != 0:
		return false, errSymbol
	}
	extra, err := r.take(extraBits(e))
	if err != nil {
		return false, err
	}
	length := int(e>>16&0x1ff) + int(extra)
	if e, err = r.symbol(r.tables.distance.entries[:], r.tables.distance.more[:], distanceBits); err != nil {
		return false, err
	}
	if e&specialFlag != 0 {
		return false, errDistance
	}
	if extra, err = r.take(extraBits(e)); err != nil {
		return false, err
	}
	from := r.wrote - (int(e>>16&0x7fff) + int(extra) + 1)
	if from < 0 {
		return false, errBefore
	}
	copyMatch(r.window, r.wrote, from, length)
	r.wrote += length
	return false, nil
}

// extraBits is how many bits follow a length's or distance's codeword.
func extraBits(e uint32) uint { return uint(e&63) - uint(e>>8&15) }

// symbol takes the next codeword and returns its entry, without the bits that follow it. The table's first part is of so many
// bits; more is its second, nil where there is none.
func (r *Reader) symbol(entries, more []uint32, width uint) (uint32, error) {
	for {
		e, used := entries[r.bits&(1<<width-1)], uint(0)
		if e&subtableFlag != 0 {
			used = width
			e = more[(e>>16&0x3fff)+uint32(r.bits>>width)&(1<<(e>>8&15)-1)]
		}
		if e&(literalFlag|specialFlag) != 0 {
			used += uint(e & 63)
		} else {
			used += uint(e >> 8 & 63)
		}
		if used <= r.count {
			r.bits >>= used
			r.count -= used
			return e, nil
		}
		if err := r.need(r.count + 1); err != nil {
			return 0, err
		}
	}
}
