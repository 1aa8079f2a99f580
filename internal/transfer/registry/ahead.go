package registry

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Ahead is a blob on its way to a registry while it is still being made, so that its digest is not known. It ends with
// the Upload that has it, or with Drop; until then the registry has bytes without a name, which it drops some day.
type Ahead struct {
	push *push
	done chan struct{} // closed when all is sent, or it was given up
	end  context.CancelFunc

	// Known once done is closed.
	location *url.URL // of the upload, nil where there is none
	err      error

	mu     sync.Mutex
	sent   int64
	report func(sent int64)
}

// SendAhead begins to send a blob to ref's repository, as docker push does (distribution's API, "Stream upload": POST,
// then PATCH without a length). open returns its bytes from the start, and reading waits for those that are not made
// yet, until it is closed. Where the registry does not take it, Push sends the blob as any other.
func (c *Client) SendAhead(ctx context.Context, ref reference.Named, open func() (io.ReadCloser, error)) (*Ahead, error) {
	endpoints, err := c.endpointsFor(ref, canPush)
	if err != nil {
		return nil, err
	}
	if len(endpoints) == 0 {
		return nil, explain(ref)
	}
	a := &Ahead{push: newPush(endpoints[0], ref, nil), done: make(chan struct{})}
	ctx, a.end = context.WithCancel(ctx)
	go func() {
		defer close(a.done)
		a.err = a.send(ctx, open)
	}()
	return a, nil
}

func (a *Ahead) send(ctx context.Context, open func() (io.ReadCloser, error)) (err error) {
	if a.location, err = a.push.begin(ctx); err != nil {
		return err
	}
	resp, err := a.push.endpoint.send(ctx, request{
		method: http.MethodPatch,
		url:    a.location,
		scopes: a.push.scopes,
		header: http.Header{"Content-Type": {"application/octet-stream"}},
		body: func() (io.ReadCloser, error) {
			body, err := open()
			if err != nil {
				return nil, err
			}
			// net/http waits for who reads the body when a request ends by an error, and he may be waiting for bytes to
			// come.
			context.AfterFunc(ctx, func() { _ = body.Close() })
			return &countedReader{ReadCloser: body, report: a.note}, nil
		},
		size:   unknownSize,
		finish: finishing,
	})
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusAccepted && resp.StatusCode != http.StatusNoContent {
		return newResponseError(a.push.endpoint.url.Host, resp)
	}
	resp.Body.Close()
	a.location, err = a.push.location(resp)
	return err
}

// Sending says whether bytes of it are still to be sent.
func (a *Ahead) Sending() bool {
	select {
	case <-a.done:
		return false
	default:
		return true
	}
}

// note tells of the bytes that were sent.
func (a *Ahead) note(sent int64) {
	a.mu.Lock()
	a.sent = sent
	report := a.report
	a.mu.Unlock()
	if report != nil {
		report(sent)
	}
}

// watch has report told of what is sent from now on.
func (a *Ahead) watch(report func(sent int64)) {
	a.mu.Lock()
	a.report = report
	sent := a.sent
	a.mu.Unlock()
	report(sent)
}

// dropping is how long a registry may take to forget an upload, which it does by itself some day: an interrupted build
// ends in less than a second.
const dropping = time.Second / 2

// Drop gives the blob up unless an Upload has ended it, and waits until nothing is sent any more. The registry is told,
// also after ctx has ended. Of nil there is nothing to give up.
func (a *Ahead) Drop(ctx context.Context) {
	if a == nil {
		return
	}
	a.end()
	<-a.done
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), dropping)
	defer stop()
	a.push.cancel(ctx, a.location)
	a.location = nil
}

// finish gives the blob its name in the registry. It says whether the registry has it now: if not, it is to be sent
// from the start.
func (a *Ahead) finish(ctx context.Context, p *push, b Upload) (bool, error) {
	a.watch(func(sent int64) { p.report(b.Desc, StatusPushing, sent, b.Desc.Size) })
	select {
	case <-a.done:
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	defer a.end()
	a.mu.Lock()
	complete := a.sent == b.Desc.Size
	a.mu.Unlock()
	if a.err != nil || a.location == nil || !complete {
		a.Drop(ctx)
		return false, ctx.Err()
	}
	end := request{method: http.MethodPut, url: withDigest(a.location, b.Desc), scopes: p.scopes, finish: finishing}
	resp, err := p.endpoint.send(ctx, end)
	if err == nil {
		resp.Body.Close()
	}
	if err != nil || resp.StatusCode != http.StatusCreated {
		a.Drop(ctx)
		return false, ctx.Err()
	}
	a.location = nil
	return true, nil
}

// withDigest is where an upload ends that a registry began.
func withDigest(location *url.URL, d ocispec.Descriptor) *url.URL {
	query := location.Query()
	query.Set("digest", d.Digest.String())
	end := *location
	end.RawQuery = query.Encode()
	return &end
}
