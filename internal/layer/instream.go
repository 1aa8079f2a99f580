package layer

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// OpenIn reads the contents of a File entry out of the layer's uncompressed tar, of which r is the beginning. e comes
// from the TOC that Scan made of this tar. What r gives is read up to the file's end only.
func OpenIn(ctx context.Context, r io.Reader, e *Entry) (io.Reader, error) {
	if e.Offset < 0 {
		return openSparse(r, e)
	}
	skip := io.LimitReader(r, e.Offset)
	n, err := copyContext(ctx, io.Discard, skip, make([]byte, 256<<10))
	if err == nil && n < e.Offset {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, contentsError(err)
	}
	return io.LimitReader(r, e.Size), nil
}

// ReadIn calls read with each of some File entries and its contents, in the order in which these are in the layer's
// uncompressed tar, until that fails. r is the beginning of the tar, and entries are of the TOC that Scan made of it, each once.
// A file with holes cannot be read so; its contents end with an error.
func ReadIn(ctx context.Context, r io.Reader, entries []*Entry, read func(*Entry, io.Reader) error) error {
	entries = slices.SortedFunc(slices.Values(entries), func(a, b *Entry) int { return cmp.Compare(a.Offset, b.Offset) })
	at, buffer := int64(0), make([]byte, 256<<10)
	for _, e := range entries {
		if e.Offset < at {
			if err := read(e, failing{fmt.Errorf("%q is a sparse file, which is not in one piece in the tar; pull the image instead", clip(e.Path))}); err != nil {
				return err
			}
			continue
		}
		n, err := copyContext(ctx, io.Discard, io.LimitReader(r, e.Offset-at), buffer)
		if err == nil && n < e.Offset-at {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return contentsError(err)
		}
		contents := &io.LimitedReader{R: r, N: e.Size}
		if err := read(e, contents); err != nil {
			return err
		}
		at = e.Offset + e.Size - contents.N
	}
	return nil
}

// failing is a reader of nothing but an error.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// openSparse goes through the headers, since the offset of a file with holes says nothing.
func openSparse(r io.Reader, e *Entry) (io.Reader, error) {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%q is not in the layer's tar", clip(e.Path))
		}
		if err != nil {
			return nil, tarError(err)
		}
		if strings.Trim(path.Clean("/"+h.Name), "/") == e.Path && h.Size == e.Size && sparse(h) {
			return tr, nil
		}
	}
}
