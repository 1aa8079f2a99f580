package layer

import (
	"errors"
	"fmt"
	"io"
)

// xzReader passes an xz stream on and refuses one whose blocks ask for a larger dictionary than maxWindow: package xz makes
// one of up to 4 GiB, whatever a header says. It follows the format from one header to the next (xz-file-format.txt,
// sections 2 to 4; the chunks of LZMA2 have their lengths before them) and decompresses nothing.
type xzReader struct {
	r    io.Reader
	skip int64        // bytes to pass over
	part []byte       // what has come of the next part
	want int          // its length in bytes
	next func() error // reads it
	err  error

	check   int64 // bytes of the checksum behind each block
	chunks  int64 // bytes of the block's chunks
	numbers uint64
	index   int64 // bytes of the index up to now
}

var errXz = errors.New("the xz stream is damaged")

func (x *xzReader) Read(p []byte) (int, error) {
	n, err := x.r.Read(p)
	if x.next == nil {
		x.expect(12, x.streamHeader)
	}
	for rest := p[:n]; len(rest) > 0 && x.err == nil; {
		if x.skip > 0 {
			k := min(x.skip, int64(len(rest)))
			x.skip, rest = x.skip-k, rest[k:]
			continue
		}
		k := min(x.want-len(x.part), len(rest))
		x.part, rest = append(x.part, rest[:k]...), rest[k:]
		if len(x.part) == x.want {
			x.err = x.next()
		}
	}
	if x.err != nil {
		return 0, x.err
	}
	return n, err
}

// expect says how long the next part is, and what reads it.
func (x *xzReader) expect(n int, next func() error) {
	x.part, x.want, x.next = x.part[:0], n, next
}

func (x *xzReader) streamHeader() error {
	sizes := map[byte]int64{0: 0, 1: 4, 4: 8, 10: 32}
	size, ok := sizes[x.part[7]]
	if !ok {
		return errXz
	}
	x.check = size
	x.expect(1, x.blockSize)
	return nil
}

// blockSize is the first byte of a block, or of the index, which follows the blocks.
func (x *xzReader) blockSize() error {
	if x.part[0] == 0 {
		x.index = 1
		x.numbers = 0
		x.expect(1, x.indexCount)
		return nil
	}
	x.expect((int(x.part[0])+1)*4-1, x.blockHeader)
	return nil
}

func (x *xzReader) blockHeader() error {
	flags, b := x.part[0], x.part[1:]
	for _, has := range []byte{0x40, 0x80} { // the compressed and the uncompressed size
		if flags&has != 0 {
			_, b = xzNumber(b)
		}
	}
	// One filter, LZMA2, with one byte of properties: the size of the dictionary.
	if flags&0x03 != 0 || len(b) < 3 || b[0] != 0x21 || b[1] != 1 || b[2] > 40 {
		return errXz
	}
	if size := (2 | uint64(b[2]&1)) << (b[2]/2 + 11); size > maxWindow {
		return fmt.Errorf("the xz stream asks for a dictionary of %d bytes, more than the %d that are allowed; compress it with xz -9 at most", size, maxWindow)
	}
	x.chunks = 0
	x.expect(1, x.control)
	return nil
}

// control is the first byte of a chunk of LZMA2, or the end of the block.
func (x *xzReader) control() error {
	c := x.part[0]
	x.chunks++
	switch {
	case c == 0:
		x.skip = (4-x.chunks%4)%4 + x.check
		x.expect(1, x.blockSize)
	case c <= 2:
		x.expect(2, x.chunk)
	case c >= 0xc0:
		x.expect(5, x.chunk)
	case c >= 0x80:
		x.expect(4, x.chunk)
	default:
		return errXz
	}
	return nil
}

// chunk is what follows the control byte: the length of what is stored comes last but for the properties.
func (x *xzReader) chunk() error {
	at := 0
	if x.want > 2 {
		at = 2
	}
	x.skip = int64(x.part[at])<<8 + int64(x.part[at+1]) + 1
	x.chunks += int64(x.want) + x.skip
	x.expect(1, x.control)
	return nil
}

// indexCount reads the number of records in the index, of two numbers each.
func (x *xzReader) indexCount() error {
	x.index++
	if x.part[len(x.part)-1]&0x80 != 0 {
		x.want++
		return x.tooLong()
	}
	n, _ := xzNumber(x.part)
	if n > 1<<60 {
		return errXz
	}
	x.numbers = 2 * n
	x.nextNumber()
	return nil
}

func (x *xzReader) nextNumber() {
	if x.numbers > 0 {
		x.expect(1, x.indexNumber)
		return
	}
	x.skip = (4-x.index%4)%4 + 4 + 12 // padding, checksum, and the stream's footer
	x.expect(4, x.between)
}

func (x *xzReader) indexNumber() error {
	x.index++
	if x.part[len(x.part)-1]&0x80 != 0 {
		x.want++
		return x.tooLong()
	}
	x.numbers--
	x.nextNumber()
	return nil
}

func (x *xzReader) tooLong() error {
	if x.want > 9 {
		return errXz
	}
	return nil
}

// between reads what follows a stream: zeros, four at a time, or another stream.
func (x *xzReader) between() error {
	if string(x.part) == "\x00\x00\x00\x00" {
		x.expect(4, x.between)
		return nil
	}
	x.want, x.next = 12, x.streamHeader
	return nil
}

// xzNumber reads a number of seven bits a byte, and returns what follows it.
func xzNumber(b []byte) (n uint64, rest []byte) {
	for i, c := range b {
		if i == 9 {
			break
		}
		n |= uint64(c&0x7f) << (7 * i)
		if c&0x80 == 0 {
			return n, b[i+1:]
		}
	}
	return 0, nil
}
