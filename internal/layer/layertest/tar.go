// Package layertest makes tars for tests that archive/tar would not write.
package layertest

import (
	"archive/tar"
	"fmt"
)

// Header is one block of a tar: the header of a file, which says that size bytes follow. more, if not nil, changes it
// before its sum is made.
func Header(name string, kind byte, size int64, more func([]byte)) []byte {
	b := make([]byte, 512)
	copy(b, name)
	copy(b[100:], "0000644\x000000000\x000000000\x00")
	number(b[124:136], size)
	copy(b[136:], "00000000000\x00")
	b[156] = kind
	copy(b[257:], "ustar  \x00")
	if more != nil {
		more(b)
	}
	sum := 8 * int(' ')
	for i, c := range b {
		if i < 148 || i >= 156 {
			sum += int(c)
		}
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

// number writes a number of any size: in octal digits, or where these have no room, in base 256.
func number(b []byte, n int64) {
	if n < 1<<33 {
		copy(b, fmt.Sprintf("%011o\x00", n))
		return
	}
	clear(b)
	b[0] = 0x80
	for i := range 8 {
		b[len(b)-1-i] = byte(n >> (8 * i))
	}
}

// GNUSparse is a tar with a file of size bytes in GNU's sparse format, a hole but for its last block.
func GNUSparse(name string, size int64) []byte {
	head := Header(name, tar.TypeGNUSparse, 512, func(b []byte) {
		number(b[386:398], size-512)
		number(b[398:410], 512)
		number(b[483:495], size)
	})
	return append(head, make([]byte, 512+1024)...)
}
