package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ErrNoRanges says that a registry gives blobs only whole.
var ErrNoRanges = errors.New("the registry does not give parts of blobs")

// OpenRange opens the bytes of a blob from one to before another, at the first of ref's endpoints that gives them.
// What is read is as long as was asked for, or ends with an error; its contents are for the caller to check.
func (c *Client) OpenRange(ctx context.Context, ref reference.Named, desc ocispec.Descriptor, from, to int64) (io.ReadCloser, error) {
	if err := desc.Digest.Validate(); err != nil || from < 0 || to <= from || to > desc.Size {
		return nil, fmt.Errorf("%s: the bytes %d to %d of %q are asked for, which has %d", reference.FamiliarString(ref), from, to, desc.Digest, desc.Size)
	}
	var r io.ReadCloser
	err := c.ask(ref, canPull, func(e *endpoint) (err error) {
		r, err = e.openRange(ctx, ref, desc, from, to)
		return err
	})
	return r, err
}

func (e *endpoint) openRange(ctx context.Context, ref reference.Named, desc ocispec.Descriptor, from, to int64) (io.ReadCloser, error) {
	resp, err := e.read(ctx, rangeRequest(ref, desc, from, to), http.StatusPartialContent, http.StatusOK)
	if err != nil {
		return nil, err
	}
	return e.rangeOf(resp, desc, from, to)
}

// openPart is openRange for who has another way to get these bytes: the endpoint is asked once, and not noted to be
// down.
func (e *endpoint) openPart(ctx context.Context, ref reference.Named, desc ocispec.Descriptor, from, to int64) (io.ReadCloser, error) {
	resp, err := e.send(ctx, rangeRequest(ref, desc, from, to))
	if err != nil {
		return nil, err
	}
	return e.rangeOf(resp, desc, from, to)
}

func rangeRequest(ref reference.Named, desc ocispec.Descriptor, from, to int64) request {
	return request{
		method: http.MethodGet,
		path:   "/" + reference.Path(ref) + "/blobs/" + desc.Digest.String(),
		scopes: []string{pullScope(ref)},
		header: http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", from, to-1)}},
	}
}

// rangeOf is the body of an answer to a rangeRequest.
func (e *endpoint) rangeOf(resp *http.Response, desc ocispec.Descriptor, from, to int64) (io.ReadCloser, error) {
	if resp.StatusCode != http.StatusPartialContent {
		resp.Body.Close()
		return nil, fmt.Errorf("%s: %w", e.url.Host, ErrNoRanges)
	}
	want := fmt.Sprintf("bytes %d-%d/", from, to-1)
	if !strings.HasPrefix(resp.Header.Get("Content-Range"), want) {
		resp.Body.Close()
		return nil, fmt.Errorf("%s sent another range of %s than it was asked for", e.url.Host, desc.Digest)
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, to-from), resp.Body}, nil
}
