package anatomy

import (
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
)

// checked reads a file and compares its digest at the end.
type checked struct {
	io.ReadCloser
	verifier digest.Verifier
	path     string
}

func verified(r io.ReadCloser, e *layer.Entry) io.ReadCloser {
	if e.Digest == "" {
		return r
	}
	return &checked{r, e.Digest.Verifier(), e.Path}
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.verifier.Write(p[:n])
	if err == io.EOF && !c.verifier.Verified() {
		return n, fmt.Errorf("/%s: its contents do not match the layer's table of contents; the layer was changed or is damaged: get the image again", c.path)
	}
	return n, err
}
