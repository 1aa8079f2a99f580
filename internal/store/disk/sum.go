package disk

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
)

// Sum reads r to its end, or until ctx ends, and returns the sha256 of what it read.
func Sum(ctx context.Context, r io.Reader) (digest.Digest, error) {
	sum := layer.NewDigestReader(contextReader{ctx, r})
	// Without its ReadFrom, which reads 8 KiB at a time.
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, sum, make([]byte, 1<<18)); err != nil {
		return "", err
	}
	return sum.Digest(), nil
}

// contextReader reads until ctx ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
