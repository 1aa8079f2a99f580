package inflate

import "math/bits"

// An entry of a table says what a codeword stands for. The bits of the codeword that are still to be taken (all of them, or those behind
// the first part of the table) are its lowest 6, with the extra bits that follow it; without these they are in bits 8 to 11.
//
//	a literal:             literalFlag, the byte from bit 16 on
//	a length, a distance:  its base from bit 16 on; that of a distance is one less than it says
//	longer codewords:      specialFlag and subtableFlag; from bit 16 on where in more they begin, in bits 8 to 11 of how many bits they are
//	the end of the block:  specialFlag and endFlag
//	nothing:               specialFlag
const (
	literalFlag  = 1 << 31
	subtableFlag = 1 << 15
	specialFlag  = 1 << 14
	endFlag      = 1 << 13
)

// How many bits the first part of a table is looked up by: most codewords are no longer.
const (
	literalBits  = 11
	distanceBits = 8
)

// How many entries longer codewords need at most: zlib's enough.c says 2342 in all for 288 symbols, 15 bits and 11, and 402 for 32
// symbols, 15 and 8.
const (
	moreLiterals  = 2342 - 1<<literalBits
	moreDistances = 402 - 1<<distanceBits
)

type tables struct {
	literal struct {
		entries [1 << literalBits]uint32
		more    [moreLiterals]uint32
	}
	distance struct {
		entries [1 << distanceBits]uint32
		more    [moreDistances]uint32
	}
}

// The lengths and distances of RFC 1951, 3.2.5.
var (
	literals  [288]uint32
	distances [32]uint32
	// lengthCodes are the symbols of 3.2.7, which are taken as they are.
	lengthCodes [19]uint32
)

func init() {
	for i := range 256 {
		literals[i] = literalFlag | uint32(i)<<16
	}
	literals[256] = specialFlag | endFlag
	base := uint32(3)
	for i := range 28 {
		extra := max(i/4-1, 0)
		literals[257+i] = base<<16 | uint32(extra)
		base += 1 << extra
	}
	literals[285] = maxMatch << 16
	literals[286], literals[287] = specialFlag, specialFlag
	base = 0
	for i := range 30 {
		extra := max(i/2-1, 0)
		distances[i] = base<<16 | uint32(extra)
		base += 1 << extra
	}
	distances[30], distances[31] = specialFlag, specialFlag
	for i := range lengthCodes {
		lengthCodes[i] = literalFlag | uint32(i)<<16
	}
}

// maxCode is how many bits a codeword has at most (RFC 1951, 3.2.1).
const maxCode = 15

// code is a Huffman code as a block has it: the length of each symbol's codeword, and what each symbol stands for.
type code struct {
	lengths []uint8
	symbols []uint32
}

// build makes the table of a code, in entries, of which there are 1<<width, and more. It says whether the code is one: there may be no
// symbol, or one with one bit, as in the code of the distances of a block that has none, or one; all others have to use all codewords.
func (c code) build(entries, more []uint32, width int) bool {
	var count [maxCode + 1]int
	for _, n := range c.lengths {
		count[n]++
	}
	count[0] = 0
	left, used := 1, 0
	for n := 1; n <= maxCode; n++ {
		left = left<<1 - count[n]
		if left < 0 {
			return false
		}
		used += count[n]
	}
	if left > 0 {
		if used > 1 || used == 1 && count[1] != 1 {
			return false
		}
		for i := range entries {
			entries[i] = specialFlag
		}
	}
	var sorted [288]uint16
	symbols := c.sort(sorted[:], count)
	next, prefix, sub, subBits := uint32(0), -1, 0, 0
	end, before := 0, 0
	for _, s := range symbols {
		n := int(c.lengths[s])
		next <<= n - before
		before = n
		reversed := int(bits.Reverse32(next) >> (32 - n)) // codewords begin with their highest bit (3.1.1)
		next++
		if n <= width {
			e := c.entry(int(s), n)
			for i := reversed; i < 1<<width; i += 1 << n {
				entries[i] = e
			}
			count[n]--
			continue
		}
		if p := reversed & (1<<width - 1); p != prefix {
			prefix, sub = p, end
			subBits = n - width
			for room := 1 << subBits; subBits+width < maxCode; room <<= 1 {
				if room -= count[subBits+width]; room <= 0 {
					break
				}
				subBits++
			}
			if end += 1 << subBits; end > len(more) {
				return false
			}
			entries[p] = specialFlag | subtableFlag | uint32(sub)<<16 | uint32(subBits)<<8
		}
		e := c.entry(int(s), n-width)
		for i := reversed >> width; i < 1<<subBits; i += 1 << (n - width) {
			more[sub+i] = e
		}
		count[n]--
	}
	return true
}

// sort gives the symbols that have codewords in the order of these.
func (c code) sort(sorted []uint16, count [maxCode + 1]int) []uint16 {
	var at [maxCode + 2]int
	for n := 1; n <= maxCode; n++ {
		at[n+1] = at[n] + count[n]
	}
	for s, n := range c.lengths {
		if n > 0 {
			sorted[at[n]] = uint16(s)
			at[n]++
		}
	}
	return sorted[:at[maxCode]]
}

// entry is what a codeword of the symbol s, of which n bits are to be taken, has in the table.
func (c code) entry(s, n int) uint32 {
	e := c.symbols[s]
	return e&^63 | uint32(n)<<8 | (e&63 + uint32(n))
}

// fix takes the codes of RFC 1951, 3.2.6.
func (t *tables) fix() {
	var lengths [288]uint8
	for i := range lengths {
		switch {
		case i < 144, i >= 280:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		default:
			lengths[i] = 7
		}
	}
	var distance [32]uint8
	for i := range distance {
		distance[i] = 5
	}
	t.build(lengths[:], distance[:])
}

func (t *tables) build(literal, distance []uint8) bool {
	return code{literal, literals[:]}.build(t.literal.entries[:], t.literal.more[:], literalBits) &&
		code{distance, distances[:]}.build(t.distance.entries[:], t.distance.more[:], distanceBits)
}

// lengthOrder is the order in which the lengths of the code of lengths come (RFC 1951, 3.2.7).
var lengthOrder = [19]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// lengthBits is how long the codewords of that code are at most.
const lengthBits = 7

// readTables reads the codes of a block that has its own (RFC 1951, 3.2.7).
func (r *Reader) readTables() error {
	head, err := r.take(14)
	if err != nil {
		return err
	}
	literals, distances, lengths := int(head&31)+257, int(head>>5&31)+1, int(head>>10)+4
	if literals > 286 || distances > 30 {
		return corrupt("it has too many symbols")
	}
	var ofLengths [19]uint8
	for _, i := range lengthOrder[:lengths] {
		n, err := r.take(3)
		if err != nil {
			return err
		}
		ofLengths[i] = uint8(n)
	}
	var entries [1 << lengthBits]uint32
	if !(code{ofLengths[:], lengthCodes[:]}).build(entries[:], nil, lengthBits) {
		return corrupt("it has an impossible code")
	}
	var all [286 + 30]uint8
	if err := r.readLengths(all[:literals+distances], entries[:]); err != nil {
		return err
	}
	if !r.tables.build(all[:literals], all[literals:literals+distances]) {
		return corrupt("it has an impossible code")
	}
	return nil
}

// readLengths reads the lengths of codewords, by the table of their code.
func (r *Reader) readLengths(lengths []uint8, entries []uint32) error {
	for i := 0; i < len(lengths); {
		e, err := r.symbol(entries, nil, lengthBits)
		if err != nil {
			return err
		}
		if e&literalFlag == 0 {
			return errSymbol
		}
		symbol := e >> 16 & 31
		if symbol < 16 {
			lengths[i] = uint8(symbol)
			i++
			continue
		}
		again := [3]struct {
			width uint
			least int
		}{{2, 3}, {3, 3}, {7, 11}}[symbol-16]
		n, err := r.take(again.width)
		if err != nil {
			return err
		}
		var length uint8
		if symbol == 16 {
			if i == 0 {
				return corrupt("it repeats a length before the first")
			}
			length = lengths[i-1]
		}
		for times := int(n) + again.least; times > 0; times-- {
			if i == len(lengths) {
				return corrupt("it has too many lengths")
			}
			lengths[i] = length
			i++
		}
	}
	return nil
}
