package layer

import (
	"archive/tar"
	"io"
	"sync/atomic"
)

// TarBlock is the unit of a tar, in bytes: a header is one, and zeros are its end (POSIX, pax, "ustar Interchange Format").
const TarBlock = 512

// TarReader is a tar.Reader that keeps to Limits. archive/tar itself bounds what it holds in memory: a header and all that
// extends it (PAX records, long names, maps of sparse files) to 1 MiB each (maxSpecialFileSize, maxSparseFileEntries).
type TarReader struct {
	limits  Limits
	in      *countReader
	tar     *tar.Reader
	headers int
	size    int64 // bytes that the entries up to now have together, as their headers say
	read    int64 // bytes of contents that were read
}

// NewTarReader reads the uncompressed tar r.
func NewTarReader(r io.Reader, l Limits) *TarReader {
	in := &countReader{r: r}
	return &TarReader{limits: l.withDefaults(), in: in, tar: tar.NewReader(in)}
}

// Next is tar.Reader.Next. A *LimitError is of the entry with which there is too much: it is returned before anything of
// its contents is read.
func (t *TarReader) Next() (*tar.Header, error) {
	h, err := t.tar.Next()
	if err != nil {
		return nil, err
	}
	t.headers++
	if err := t.limits.checkEntries(h.Name, t.headers); err != nil {
		return nil, err
	}
	if err := t.limits.checkSize(h.Name, t.size, h.Size); err != nil {
		return nil, err
	}
	t.size += h.Size
	return h, nil
}

// Read reads the contents of the entry that Next gave. A sparse file gives zeros for its holes. A *LimitError does not name
// the entry.
func (t *TarReader) Read(p []byte) (int, error) {
	n, err := t.tar.Read(p)
	t.read += int64(n)
	if lerr := t.limits.checkRatio(t.in.n.Load(), t.read); lerr != nil {
		return 0, lerr // io.ReadFull forgets an error that comes with the last byte
	}
	return n, err
}

// Offset is how many bytes of the tar were read: after Next, where the contents begin.
func (t *TarReader) Offset() int64 { return t.in.n.Load() }

// countReader counts what was read.
type countReader struct {
	r io.Reader
	n atomic.Int64 // decompressors read in goroutines of their own
}

func (c *countReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}
