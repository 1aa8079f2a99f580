package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// tries is how often a request is made whose failure may pass: an answer of 5xx or 429, a lost connection.
const tries = 4

// Caller makes the requests of a store that is reached by plain HTTP.
type Caller struct {
	// Sign, if not nil, is asked to make each try of a request one that the store takes.
	Sign func(*http.Request) error
}

// client is that of all Callers. An Authorization header goes to no other host (net/http), and neither does a URL, which may be
// signed.
var client = &http.Client{Transport: Transport(), CheckRedirect: func(next *http.Request, before []*http.Request) error {
	next.Header.Del("Referer")
	if len(before) >= maxRedirects {
		return fmt.Errorf("it was sent on %d times", len(before))
	}
	return nil
}}

// maxRedirects is how often a request is sent on, as often as net/http does.
const maxRedirects = 10

// Request is a request to a store.
type Request struct {
	Method string
	URL    *url.URL
	Header http.Header
	Body   *Body // nil for none
}

// Body is what is to be sent: Data, or what R gives, which can be read once.
type Body struct {
	Size int64
	Data []byte
	R    io.Reader
}

// NewBody is a body that can be sent again if it is Small. name is what errors call it.
func NewBody(name string, size int64, r io.Reader) (*Body, error) {
	if size > Small {
		return &Body{Size: size, R: r}, nil
	}
	data, err := ReadSmall(name, size, r)
	return &Body{Size: size, Data: data}, err
}

func (b *Body) reader() io.Reader {
	if b.R != nil {
		return b.R
	}
	return bytes.NewReader(b.Data)
}

// Do makes a request, several times where its failure may pass and what it sends can be read again. The answer may be of any
// status; an error is that there was none. The caller closes its body.
func (c *Caller) Do(ctx context.Context, r Request) (*http.Response, error) {
	for try := 1; ; try++ {
		resp, err := c.once(ctx, r)
		again := try < tries && (r.Body == nil || r.Body.R == nil)
		if err == nil && (!again || resp.StatusCode/100 != 5 && resp.StatusCode != http.StatusTooManyRequests || resp.StatusCode == http.StatusNotImplemented) {
			return resp, nil
		}
		if err == nil {
			resp.Body.Close()
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if !again {
			return nil, err
		}
		select {
		case <-time.After(time.Duration(try*try) * 50 * time.Millisecond):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (c *Caller) once(ctx context.Context, r Request) (*http.Response, error) {
	var reader io.Reader
	if r.Body != nil {
		reader = r.Body.reader()
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL.String(), reader)
	if err != nil {
		return nil, err
	}
	for key, values := range r.Header {
		req.Header[key] = values
	}
	if r.Body != nil {
		req.ContentLength = r.Body.Size
		if req.Header.Get("Content-Type") == "" {
			req.Header.Set("Content-Type", "application/octet-stream")
		}
		if r.Body.Size == 0 {
			req.Body = http.NoBody
		}
	}
	if c.Sign != nil {
		if err := c.Sign(req); err != nil {
			return nil, err
		}
	}
	resp, err := client.Do(req)
	// The error of a request has its URL, which may be signed.
	if told := (*url.Error)(nil); errors.As(err, &told) {
		err = fmt.Errorf("%s: %w", req.URL.Host, told.Err)
	}
	return resp, err
}

// RangeFrom is the header of a request for an object from a byte on.
func RangeFrom(offset int64) http.Header {
	header := http.Header{}
	if offset > 0 {
		header.Set("Range", "bytes="+strconv.FormatInt(offset, 10)+"-")
	}
	return header
}

// Opened is what an answer to a request with RangeFrom gives: the body from that byte on, also where the store has no ranges.
func Opened(resp *http.Response, offset int64) (io.ReadCloser, error) {
	if offset > 0 && resp.StatusCode != http.StatusPartialContent {
		if _, err := io.CopyN(io.Discard, resp.Body, offset); err != nil {
			resp.Body.Close()
			return nil, err
		}
	}
	return resp.Body, nil
}

// ObjectOf is what the headers of an answer say of an object.
func ObjectOf(name string, resp *http.Response) Object {
	o := Object{Name: name, Size: resp.ContentLength}
	// A weak ETag is no condition of a write (RFC 9110, 13.1.1).
	if tag := resp.Header.Get("ETag"); len(tag) < 2 || tag[:2] != "W/" {
		o.Version = tag
	}
	o.Modified, _ = http.ParseTime(resp.Header.Get("Last-Modified"))
	return o
}

// Condition adds the headers of what has to be there (RFC 9110, 13.1).
func (e Expect) Condition(header http.Header) {
	switch {
	case e.Nothing:
		header.Set("If-None-Match", "*")
	case e.Version != "":
		header.Set("If-Match", e.Version)
	}
}
