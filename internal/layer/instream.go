package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
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
