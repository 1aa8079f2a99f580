package supervisor

import (
	"bytes"
	"encoding/binary"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// read reads what the call's process has at an address, as far as it has something there.
func (c *call) read(address uint64, into []byte) (int, error) {
	remote := pieces(address, len(into))
	n, err := unix.ProcessVMReadv(int(c.pid), []unix.Iovec{{Base: &into[0], Len: uint64(len(into))}}, remote, 0)
	if err != nil || n <= 0 {
		return 0, unix.EFAULT
	}
	return n, nil
}

// write writes to an address of the call's process, which still has to wait for the answer.
func (c *call) write(address uint64, data []byte) error {
	if !c.waits() {
		return unix.ESRCH
	}
	n, err := unix.ProcessVMWritev(int(c.pid), []unix.Iovec{{Base: &data[0], Len: uint64(len(data))}}, pieces(address, len(data)), 0)
	if err != nil || n != len(data) {
		return unix.EFAULT
	}
	return nil
}

// pieces are the parts of a range of addresses in each page: of one that is not there, the pages before count.
func pieces(address uint64, n int) []unix.RemoteIovec {
	page := uint64(os.Getpagesize())
	var parts []unix.RemoteIovec
	for n > 0 {
		part := min(page-address%page, uint64(n))
		parts = append(parts, unix.RemoteIovec{Base: uintptr(address), Len: int(part)})
		address, n = address+part, n-int(part)
	}
	return parts
}

// text is the string that an argument points to.
func (c *call) text(argument int) (string, error) {
	var buf [256]byte
	into := buf[:]
	for {
		n, err := c.read(c.argument[argument], into)
		if err != nil {
			return "", err
		}
		if end := bytes.IndexByte(into[:n], 0); end >= 0 {
			return string(into[:end]), nil
		}
		if n < len(into) {
			return "", unix.EFAULT
		}
		if len(into) == unix.PathMax {
			return "", unix.ENAMETOOLONG
		}
		into = make([]byte, unix.PathMax)
	}
}

// putNumbers writes numbers of 32 bits to the addresses in consecutive arguments from the first on.
func (c *call) putNumbers(numbers ...uint32) error {
	for i, n := range numbers {
		if err := c.write(c.argument[i], binary.NativeEndian.AppendUint32(nil, n)); err != nil {
			return err
		}
	}
	return nil
}

// bytesOf are the bytes of a value of a fixed size without pointers.
func bytesOf[T any](value *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(value)), unsafe.Sizeof(*value))
}
