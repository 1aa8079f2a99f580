package packed

import (
	"errors"
	"io"
)

// gear are the numbers by which bytes count in the rolling hash: those of splitmix64 (prng.di.unimi.it/splitmix64.c) from the
// seed 0. With others files are cut elsewhere, which costs one more sending and nothing else.
var gear = func() (table [256]uint64) {
	var x uint64
	for i := range table {
		x += 0x9e3779b97f4a7c15
		z := x
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		table[i] = z ^ z>>31
	}
	return table
}()

// cutter cuts a large file into pieces.
type cutter struct {
	r    io.Reader
	buf  []byte // of maxPiece bytes
	held int    // bytes at the beginning of buf that were read and not given
	gave int    // bytes of the piece before
}

// next is the next piece, valid until the next call; empty at the end of the file.
func (c *cutter) next() ([]byte, error) {
	copy(c.buf, c.buf[c.gave:c.gave+c.held])
	n, err := io.ReadFull(c.r, c.buf[c.held:])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	n += c.held
	c.gave = cut(c.buf[:n])
	c.held = n - c.gave
	return c.buf[:c.gave], nil
}

// cut is how many bytes of data are the first piece: up to where the rolling hash says so (Xia et al., "FastCDC", USENIX ATC
// 2016, 3.1).
func cut(data []byte) int {
	if len(data) <= minPiece {
		return len(data)
	}
	var h uint64
	for i := minPiece - 64; i < len(data); i++ {
		h = h<<1 + gear[data[i]] // what is 64 bytes back is shifted out
		// The upper bits depend on all 64 bytes, the lower ones on the last few.
		if i >= minPiece && h>>44&pieceMask == 0 {
			return i + 1
		}
	}
	return len(data)
}
