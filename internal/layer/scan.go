package layer

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Scan reads the uncompressed tar of a layer and returns its table of contents with digests and offsets, without
// writing anything. It refuses what Unpack refuses. The contents of a sparse file are not in one piece in the tar: its
// Offset is -1.
func Scan(ctx context.Context, r io.Reader, l Limits) (*Assembled, error) {
	a := newAssembler(ctx, nil, noTree{})
	tr := NewTarReader(r, l)
	h, buf := sha256.New(), make([]byte, 256<<10)
	for {
		header, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, tarError(err)
		}
		offset := tr.Offset()
		e, err := a.add(header)
		if err != nil {
			return nil, entryError(header, err)
		}
		if e == nil || e.Type != File {
			continue
		}
		h.Reset()
		if _, err := copyContext(ctx, h, tr, buf); err != nil {
			return nil, entryError(header, contentsError(err))
		}
		e.Digest = digest.NewDigest(digest.SHA256, h)
		if e.Offset = offset; sparse(header) {
			e.Offset = -1
		}
	}
	if _, err := copyContext(ctx, io.Discard, r, buf); err != nil {
		return nil, tarError(err)
	}
	return a.assembled(), nil
}

// sparse says whether a header is one of the three ways to write a file with holes.
func sparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// tarError explains an error of the tar reader.
func tarError(err error) error {
	limit := (*LimitError)(nil)
	switch {
	case errors.As(err, &limit) && limit.Entry != "":
		return fmt.Errorf("layer %w", err)
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the layer's tar ends too early (%w); fetch or make it again", err)
	case errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrFieldTooLong):
		return fmt.Errorf("the layer is not a valid tar (%w); fetch or make it again", err)
	}
	return fmt.Errorf("reading the layer's tar: %w", err)
}

func contentsError(err error) error {
	if limit := (*LimitError)(nil); errors.As(err, &limit) {
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return tarError(err)
	}
	return fmt.Errorf("reading its contents: %w", err)
}

// entryError names the entry that an error is about, as it stands in the tar.
func entryError(h *tar.Header, err error) error {
	return fmt.Errorf("layer entry %q: %w", clip(h.Name), err)
}
