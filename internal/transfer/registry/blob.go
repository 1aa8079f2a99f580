package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxTries is how often a blob's reading is taken up again without a single new byte, per endpoint.
const maxTries = 5

// Open streams a blob from offset on. After a broken connection it goes on where it broke, on the next mirror
// if need be. Read from the start, the blob is checked: in the place of io.EOF comes a *DigestError if it is
// not what desc promises; with an offset that is for the caller to do. desc.Size has to be the blob's size.
func (c *Client) Open(ctx context.Context, ref reference.Named, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	r, err := c.newBlobReader(ctx, ref, desc, offset)
	if err != nil {
		return nil, err
	}
	if offset == 0 {
		r.verify = desc.Digest.Algorithm().Digester()
	}
	if err := r.connect(); err != nil {
		return nil, err
	}
	return r, nil
}

// blobReader reads a blob across broken connections and mirrors.
type blobReader struct {
	ctx       context.Context
	client    *Client
	ref       reference.Named
	desc      ocispec.Descriptor
	endpoints []*endpoint // those left to ask, the first being asked now
	pos       int64       // bytes of the blob passed on, or skipped as there from before
	body      io.ReadCloser
	tries     int       // connections since the last new byte
	failures  []failure // of the endpoints that were given up
	verify    digest.Digester
}

func (c *Client) newBlobReader(ctx context.Context, ref reference.Named, desc ocispec.Descriptor, offset int64) (*blobReader, error) {
	if err := desc.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("%s: digest %q: %w", reference.FamiliarString(ref), desc.Digest, err)
	}
	if offset < 0 || offset > desc.Size {
		return nil, fmt.Errorf("%s: offset %d is outside of the %d bytes of %s", reference.FamiliarString(ref), offset, desc.Size, desc.Digest)
	}
	endpoints, err := c.endpointsFor(ref, canPull)
	if err != nil {
		return nil, err
	}
	return &blobReader{ctx: ctx, client: c, ref: ref, desc: desc, endpoints: endpoints, pos: offset}, nil
}

// Read implements io.Reader.
func (r *blobReader) Read(p []byte) (int, error) {
	for {
		if r.pos == r.desc.Size {
			return 0, r.end()
		}
		if len(p) == 0 {
			return 0, nil
		}
		if r.body == nil {
			if err := r.connect(); err != nil {
				return 0, err
			}
		}
		n, err := r.body.Read(p[:min(int64(len(p)), r.desc.Size-r.pos)])
		if err != nil {
			r.disconnect()
		}
		if n > 0 {
			r.pos += int64(n)
			r.tries = 0
			if r.verify != nil {
				r.verify.Hash().Write(p[:n])
			}
			return n, nil
		}
		if err == io.EOF {
			err = &connectError{host: r.endpoints[0].url.Host, err: io.ErrUnexpectedEOF}
		}
		if err != nil {
			if err := r.again(err); err != nil {
				return 0, err
			}
		}
	}
}

// end is what Read returns after the last byte.
func (r *blobReader) end() error {
	if r.verify == nil {
		return io.EOF
	}
	if got := r.verify.Digest(); got != r.desc.Digest {
		host := ""
		if len(r.endpoints) > 0 {
			host = r.endpoints[0].url.Host
		}
		return fmt.Errorf("%s: %w", reference.FamiliarString(r.ref), &DigestError{Want: r.desc.Digest, Got: got, Host: host})
	}
	return io.EOF
}

// Close implements io.Closer.
func (r *blobReader) Close() error {
	r.disconnect()
	return nil
}

func (r *blobReader) disconnect() {
	if r.body != nil {
		r.body.Close()
		r.body = nil
	}
}

// again prepares for another connection after err: after a pause, or to the next endpoint, or it gives up.
func (r *blobReader) again(err error) error {
	if r.ctx.Err() != nil {
		return context.Cause(r.ctx)
	}
	r.tries++
	if passing(err) && r.tries < maxTries {
		return r.client.wait(r.ctx, r.tries, err)
	}
	if r.tries > 1 && r.pos > 0 {
		err = &brokenError{cause: err, tries: r.tries, pos: r.pos, desc: r.desc}
	}
	return r.next(err)
}

// next goes on to the next endpoint, with the reason why the present one was given up.
func (r *blobReader) next(err error) error {
	r.endpoints[0].noteDown(err)
	r.failures = append(r.failures, failure{err: err, mirror: r.endpoints[0].mirror})
	r.endpoints = r.endpoints[1:]
	r.tries = 0
	if len(r.endpoints) == 0 {
		return explain(r.ref, r.failures...)
	}
	return nil
}

// passing tells whether a blob's reading is worth taking up again: more often than for other requests, since
// connections that carry much break more.
func passing(err error) bool {
	return transient(err) || errors.Is(err, errStalled) || errors.Is(err, io.ErrUnexpectedEOF)
}

// connect opens the blob at pos.
func (r *blobReader) connect() error {
	if len(r.endpoints) == 0 {
		return explain(r.ref, r.failures...)
	}
	for {
		body, err := r.endpoints[0].openBlob(r.ctx, r.ref, r.desc, r.pos)
		if err == nil {
			r.body = body
			return nil
		}
		if err := r.again(err); err != nil {
			return err
		}
	}
}

// openBlob asks one endpoint once.
func (e *endpoint) openBlob(ctx context.Context, ref reference.Named, desc ocispec.Descriptor, pos int64) (io.ReadCloser, error) {
	req := request{
		method: http.MethodGet,
		path:   "/" + reference.Path(ref) + "/blobs/" + desc.Digest.String(),
		scopes: []string{pullScope(ref)},
	}
	if pos > 0 {
		req.header = http.Header{"Range": {fmt.Sprintf("bytes=%d-", pos)}}
	}
	resp, err := e.send(ctx, req)
	if err != nil {
		return nil, err
	}
	skip := pos
	switch resp.StatusCode {
	case http.StatusOK: // a server that knows no ranges starts from the beginning
	case http.StatusPartialContent:
		if want := fmt.Sprintf("bytes %d-", pos); pos == 0 || !strings.HasPrefix(resp.Header.Get("Content-Range"), want) {
			resp.Body.Close()
			return nil, fmt.Errorf("%s sent another range of %s than it was asked for", e.url.Host, desc.Digest)
		}
		skip = 0
	default:
		return nil, newResponseError(e.url.Host, resp)
	}
	if n := resp.ContentLength; n >= 0 && n+pos-skip != desc.Size {
		resp.Body.Close()
		return nil, fmt.Errorf("%s has %d bytes for %s, where the manifest says %d", e.url.Host, n+pos-skip, desc.Digest, desc.Size)
	}
	if _, err := io.CopyN(io.Discard, resp.Body, skip); err != nil {
		resp.Body.Close()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, &connectError{host: e.url.Host, err: err}
	}
	return resp.Body, nil
}

// brokenError is a blob that could not be read to its end. Its cause is told and not wrapped: the registry
// was reached.
type brokenError struct {
	cause error
	tries int
	pos   int64
	desc  ocispec.Descriptor
}

func (e *brokenError) Error() string {
	return fmt.Sprintf("reading %s broke off at %d of %d bytes, and %d more tries brought nothing: %v; run the command again, it goes on from there",
		e.desc.Digest, e.pos, e.desc.Size, e.tries-1, e.cause)
}
