package chunked

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
)

// windowSize is how far back a deflate stream may refer, in bytes (RFC 1951, 2).
const windowSize = 32 << 10

// checkpoint is where decompressing can go on in the middle of a deflate stream: between two blocks.
type checkpoint struct {
	// window is what came before it, windowSize bytes.
	window []byte
	// bits is how many bits of the byte before belong to what follows: 0 to 7, the upper ones (RFC 1951, 3.1.1).
	bits byte
}

// decoders are those that are not in use; one takes 40 KB.
var decoders sync.Pool

// resume decompresses size bytes from a checkpoint on. compressed begins with the byte before where there are bits in
// it.
//
// Decoders begin at a byte, and the stream may not be shifted, since stored blocks are aligned to bytes (RFC 1951,
// 3.2.4). So what comes before the bits are blocks without contents that take as many bits of the byte as are not
// wanted.
func (c *checkpoint) resume(compressed []byte, size int64) ([]byte, error) {
	if len(compressed) == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	// Decoders look a few bits ahead, which may be behind the last byte.
	from := make([]byte, 0, fillerSize+len(compressed)+lookahead)
	if c.bits > 0 {
		from, compressed = appendFiller(from, c.bits, compressed[0]), compressed[1:]
	}
	from = append(append(from, compressed...), make([]byte, lookahead)...)
	z, ok := decoders.Get().(io.ReadCloser)
	if !ok {
		z = flate.NewReader(nil)
	}
	defer func() {
		if z.(flate.Resetter).Reset(nothing{}, nil) == nil { // or it would keep the bytes
			decoders.Put(z)
		}
	}()
	if err := z.(flate.Resetter).Reset(bytes.NewReader(from), c.window); err != nil {
		return nil, err
	}
	data := make([]byte, size)
	if n, err := io.ReadFull(z, data); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("%d of %d bytes can be decompressed: %w", n, size, err)
	}
	return data, nil
}

// nothing is a reader that is at its end.
type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, io.EOF }

func (nothing) ReadByte() (byte, error) { return 0, io.EOF }

// emptyFixed is a block with the fixed codes, and nothing in it: three bits, of which the first says that another block
// follows, and the seven of its end, which are zero.
const (
	emptyFixed     = 0b01 << 1
	emptyFixedBits = 10
)

// fillerSize is how long a filler is at most, and lookahead how far decoders look; both in bytes.
const (
	fillerSize = 24
	lookahead  = 8
)

// appendFiller appends a deflate stream without contents that ends in the given number of bits, which are the upper
// ones of last.
func appendFiller(to []byte, bits, last byte) []byte {
	w := bitWriter{b: to}
	unwanted := int(8 - bits)
	if unwanted%2 == 1 {
		w.emptyDynamic()
	}
	for w.n%8 != unwanted {
		w.write(emptyFixed, emptyFixedBits)
	}
	w.write(uint32(last)>>(8-bits), int(bits))
	return w.b
}

// bitWriter writes bits, the lowest first.
type bitWriter struct {
	b []byte
	n int
}

func (w *bitWriter) write(v uint32, bits int) {
	for range bits {
		if w.n%8 == 0 {
			w.b = append(w.b, 0)
		}
		w.b[w.n/8] |= byte(v&1) << (w.n % 8)
		v >>= 1
		w.n++
	}
}

// emptyDynamic writes a block of 93 bits, an odd number, where those of emptyFixed are even. It has codes of its own
// (RFC 1951, 3.2.7): one for its end, of one bit, and one for a distance, which nothing uses. Their lengths are
// written as 256 zeros and two ones.
func (w *bitWriter) emptyDynamic() {
	const zeros, one = 1, 0 // the codes of 18, "11 to 138 zeros", and of the length 1, each of one bit
	w.write(0b10<<1, 3)     // another block follows; codes of its own
	w.write(0, 5)           // 257 codes of literals and lengths
	w.write(0, 5)           // one of distances
	w.write(15, 4)          // 19 lengths of codes of lengths, in the format's order
	for i := range uint32(19) {
		length := uint32(0)
		if i == 2 || i == 17 { // those of 18 and 1
			length = 1
		}
		w.write(length, 3)
	}
	w.write(zeros, 1)
	w.write(138-11, 7)
	w.write(zeros, 1)
	w.write(118-11, 7)
	w.write(one, 1) // of the end
	w.write(one, 1) // of the distance
	w.write(0, 1)   // the end
}
