package ztoctest

import (
	"errors"
	"fmt"
)

// block is where a block of a deflate stream ends.
type block struct {
	bit int // of the blob, from its beginning
	out int // bytes that came before
}

// inflater decompresses a deflate stream (RFC 1951) and notes where its blocks are, which no library tells.
type inflater struct {
	in     []byte
	bit    int
	out    []byte
	blocks []block // the end of each but the last
}

var errShort = errors.New("the stream ends too early")

func (f *inflater) bits(n int) (v int, err error) {
	for i := range n {
		if f.bit/8 >= len(f.in) {
			return 0, errShort
		}
		v |= int(f.in[f.bit/8]>>(f.bit%8)&1) << i
		f.bit++
	}
	return v, nil
}

// huffman decodes canonical codes: how many there are of each length, and their symbols in order.
type huffman struct {
	count   [16]int
	symbols []int
}

func newHuffman(lengths []int) *huffman {
	h := &huffman{symbols: make([]int, len(lengths))}
	for _, l := range lengths {
		h.count[l]++
	}
	var offset [16]int
	for l := 1; l < 15; l++ {
		offset[l+1] = offset[l] + h.count[l]
	}
	for symbol, l := range lengths {
		if l > 0 {
			h.symbols[offset[l]] = symbol
			offset[l]++
		}
	}
	return h
}

func (f *inflater) decode(h *huffman) (int, error) {
	code, first, index := 0, 0, 0
	for l := 1; l <= 15; l++ {
		b, err := f.bits(1)
		if err != nil {
			return 0, err
		}
		code |= b
		if n := h.count[l]; code-first < n {
			return h.symbols[index+code-first], nil
		}
		index += h.count[l]
		first = (first + h.count[l]) << 1
		code <<= 1
	}
	return 0, errors.New("a code that means nothing")
}

// run decompresses all blocks.
func (f *inflater) run() error {
	for {
		head, err := f.bits(3)
		if err != nil {
			return err
		}
		switch head >> 1 {
		case 0:
			err = f.stored()
		case 1:
			err = f.codes(fixed())
		case 2:
			err = f.dynamic()
		default:
			err = errors.New("a block of an unknown kind")
		}
		if err != nil {
			return fmt.Errorf("inflating at byte %d: %w", f.bit/8, err)
		}
		if head&1 == 1 {
			return nil
		}
		f.blocks = append(f.blocks, block{f.bit, len(f.out)})
	}
}

func (f *inflater) stored() error {
	at := (f.bit + 7) / 8
	if at+4 > len(f.in) {
		return errShort
	}
	n := int(f.in[at]) | int(f.in[at+1])<<8
	if at += 4; at+n > len(f.in) {
		return errShort
	}
	f.out = append(f.out, f.in[at:at+n]...)
	f.bit = 8 * (at + n)
	return nil
}

func fixed() (literals, distances *huffman) {
	lengths := make([]int, 288)
	for i := range lengths {
		switch {
		case i < 144:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		case i < 280:
			lengths[i] = 7
		default:
			lengths[i] = 8
		}
	}
	five := make([]int, 30)
	for i := range five {
		five[i] = 5
	}
	return newHuffman(lengths), newHuffman(five)
}

func (f *inflater) dynamic() error {
	var n [3]int
	for i, size := range []int{5, 5, 4} {
		v, err := f.bits(size)
		if err != nil {
			return err
		}
		n[i] = v + []int{257, 1, 4}[i]
	}
	of := make([]int, 19)
	for _, i := range []int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}[:n[2]] {
		v, err := f.bits(3)
		if err != nil {
			return err
		}
		of[i] = v
	}
	h := newHuffman(of)
	var lengths []int
	for len(lengths) < n[0]+n[1] {
		symbol, err := f.decode(h)
		if err != nil {
			return err
		}
		if symbol < 16 {
			lengths = append(lengths, symbol)
			continue
		}
		extra, base, repeated := []int{2, 3, 7}[symbol-16], []int{3, 3, 11}[symbol-16], 0
		if symbol == 16 {
			if len(lengths) == 0 {
				return errors.New("nothing is there to be repeated")
			}
			repeated = lengths[len(lengths)-1]
		}
		v, err := f.bits(extra)
		if err != nil {
			return err
		}
		for range base + v {
			lengths = append(lengths, repeated)
		}
	}
	if len(lengths) > n[0]+n[1] {
		return errors.New("more codes than there are")
	}
	return f.codes(newHuffman(lengths[:n[0]]), newHuffman(lengths[n[0]:]))
}

// extended is the value of a code with bits behind it.
func (f *inflater) extended(code int, base, extra []int) (int, error) {
	if code < 0 || code >= len(base) {
		return 0, errors.New("a code that means nothing")
	}
	v, err := f.bits(extra[code])
	return base[code] + v, err
}

// The lengths and distances of RFC 1951, 3.2.5, by their code, and how many bits follow.
var (
	lengthBase    = []int{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthExtra   = []int{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distanceBase  = []int{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	distanceExtra = []int{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
)

func (f *inflater) codes(literals, distances *huffman) error {
	for {
		symbol, err := f.decode(literals)
		switch {
		case err != nil:
			return err
		case symbol < 256:
			f.out = append(f.out, byte(symbol))
			continue
		case symbol == 256:
			return nil
		}
		length, err := f.extended(symbol-257, lengthBase, lengthExtra)
		if err != nil {
			return err
		}
		code, err := f.decode(distances)
		if err != nil {
			return err
		}
		distance, err := f.extended(code, distanceBase, distanceExtra)
		if err != nil {
			return err
		}
		if distance > len(f.out) {
			return errors.New("it refers to what is not there")
		}
		for range length {
			f.out = append(f.out, f.out[len(f.out)-distance])
		}
	}
}
