package packages

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// OpenZip reads the list of a zip's files, which is no larger than maxDirectory bytes: archive/zip holds all of it in memory,
// and would of any size (APPNOTE, 4.3.14 and 4.3.16).
func OpenZip(r io.ReaderAt, size, maxDirectory int64) (*zip.Reader, error) {
	tail := make([]byte, min(size, 22+1<<16))
	if _, err := r.ReadAt(tail, size-int64(len(tail))); err != nil && err != io.EOF {
		return nil, err
	}
	at := bytes.LastIndex(tail, []byte("PK\x05\x06"))
	if at < 0 || at+22 > len(tail) {
		return nil, zip.ErrFormat
	}
	directory := uint64(binary.LittleEndian.Uint32(tail[at+12:]))
	if locator := at - 20; locator >= 0 && string(tail[locator:locator+4]) == "PK\x06\x07" {
		var end [48]byte
		if _, err := r.ReadAt(end[:], int64(binary.LittleEndian.Uint64(tail[locator+8:])&(1<<62-1))); err != nil {
			return nil, zip.ErrFormat
		}
		directory = max(binary.LittleEndian.Uint64(end[40:]), uint64(binary.LittleEndian.Uint32(tail[at+12:]))%(1<<32-1))
	}
	if directory > uint64(maxDirectory) {
		return nil, fmt.Errorf("its list of files is larger than %d MiB", maxDirectory>>20)
	}
	return zip.NewReader(r, size)
}
