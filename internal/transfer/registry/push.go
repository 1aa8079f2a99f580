package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

const (
	parallelUploads   = 5  // as many as dockerd sends at once
	parallelQuestions = 16 // blobs that are asked about or taken over at once: one round trip for most images
	uploadTries       = 4
	// finishing is how long a registry may take to move what it received to its storage.
	finishing = 10 * time.Minute
)

// Upload is a blob to push.
type Upload struct {
	Desc ocispec.Descriptor
	// Open returns the blob's bytes from the start. It is called again for each try, from any goroutine.
	Open func() (io.ReadCloser, error)
	// MountFrom names repositories of the same registry that may hold the blob; others are passed over.
	MountFrom []reference.Named
	Expect    Expectation
	// Ahead is the blob where it is on its way already; nil where it is not.
	Ahead *Ahead
}

// Expectation is what is known of whether the repository has a blob already. It decides what is asked first, not what
// is there in the end.
type Expectation int

const (
	// ExpectNothing is a blob to be asked about before anything is sent.
	ExpectNothing Expectation = iota
	// ExpectThere is one that the repository had a moment ago. Nothing is asked unless the registry refuses the
	// manifest.
	ExpectThere
	// ExpectAbsent is one that is small, and not known to be in any registry: it is sent right away, since to ask
	// takes as long.
	ExpectAbsent
)

// What PushProgress is told. "Mounted from" is followed by the repository.
const (
	StatusWaiting = "Waiting"
	StatusPushing = "Pushing"
	StatusPushed  = "Pushed"
	StatusExists  = "Layer already exists"
	StatusMounted = "Mounted from"
	StatusSkipped = "Skipped foreign layer"
)

// PushProgress is told of each blob's state and how many of its bytes were sent. Calls do not overlap.
type PushProgress func(desc ocispec.Descriptor, status string, current, total int64)

// Push sends an image: the blobs that the registry does not have, several at once, then the manifest under
// ref's tag (or digest). Blobs that another of the registry's repositories has are mounted from there. It
// returns the manifest's digest. progress may be nil.
func (c *Client) Push(ctx context.Context, ref reference.Named, blobs []Upload, manifest Blob, progress PushProgress) (digest.Digest, error) {
	return c.PushIf(ctx, ref, blobs, manifest, nil, progress)
}

// PushIf is Push that asks still right before it sends the manifest, and ends with its error. still may be nil.
func (c *Client) PushIf(ctx context.Context, ref reference.Named, blobs []Upload, manifest Blob, still func(context.Context) error,
	progress PushProgress) (digest.Digest, error) {
	ref = reference.TagNameOnly(ref)
	endpoints, err := c.endpointsFor(ref, canPush)
	if err != nil {
		return "", err
	}
	if len(endpoints) == 0 {
		return "", explain(ref)
	}
	p := newPush(endpoints[0], ref, blobs)
	p.still, p.report = still, serialize(progress)
	if err := p.all(ctx, blobs, manifest); err != nil {
		return "", explain(ref, failure{err: err})
	}
	return manifest.Digest, nil
}

// PushBlobs is Push of blobs without a manifest: of an image that is not complete yet. A registry drops some day what
// no manifest names. What fails is not tried again: the Push that follows does so.
func (c *Client) PushBlobs(ctx context.Context, ref reference.Named, blobs []Upload, progress PushProgress) error {
	endpoints, err := c.endpointsFor(ref, canPush)
	if err != nil {
		return err
	}
	if len(endpoints) == 0 {
		return explain(ref)
	}
	p := newPush(endpoints[0], ref, blobs)
	p.report, p.once = serialize(progress), true
	if _, err := p.blobs(ctx, blobs); err != nil {
		return explain(ref, failure{err: err})
	}
	return nil
}

// all sends the blobs and then the manifest. A registry may say that it has a blob which another client is still
// sending, or that is being collected, and then lack it: what is missing then is sent.
func (p *push) all(ctx context.Context, blobs []Upload, manifest Blob) error {
	for try := 1; ; try++ {
		assumed, err := p.blobs(ctx, blobs)
		if err != nil {
			return err
		}
		if p.still != nil {
			if err := p.still(ctx); err != nil {
				return err
			}
		}
		err = p.manifest(ctx, manifest)
		var answer *responseError
		if !errors.As(err, &answer) {
			return err
		}
		// Of a repository that is gone altogether registries say different things.
		if assumed && (answer.lacks || answer.status == http.StatusNotFound || answer.status == http.StatusBadRequest) {
			p.doubt = true
			continue
		}
		if !answer.lacks || try == uploadTries {
			return err
		}
		if err := p.endpoint.client.wait(ctx, try, err); err != nil {
			return err
		}
	}
}

// serialize lets one call of progress happen at a time.
func serialize(progress PushProgress) PushProgress {
	if progress == nil {
		return func(ocispec.Descriptor, string, int64, int64) {}
	}
	var mu sync.Mutex
	return func(desc ocispec.Descriptor, status string, current, total int64) {
		mu.Lock()
		defer mu.Unlock()
		progress(desc, status, current, total)
	}
}

// pushScopes asks for one token that serves the whole push.
func pushScopes(ref reference.Named, blobs []Upload) []string {
	scopes := []string{"repository:" + reference.Path(ref) + ":pull,push"}
	seen := map[string]bool{reference.Path(ref): true}
	for _, b := range blobs {
		for _, from := range b.MountFrom {
			if mountable(ref, from) && !seen[reference.Path(from)] {
				seen[reference.Path(from)] = true
				scopes = append(scopes, pullScope(from))
			}
		}
	}
	return scopes
}

func mountable(to, from reference.Named) bool {
	return reference.Domain(to) == reference.Domain(from) && reference.Path(to) != reference.Path(from)
}

// push is one image on its way to one endpoint.
type push struct {
	endpoint *endpoint
	ref      reference.Named
	scopes   []string
	still    func(context.Context) error // asked before the manifest, may be nil
	report   PushProgress
	sending  *semaphore.Weighted
	doubt    bool // blobs that were seen are asked about, too
	once     bool // what fails is not tried again
}

func newPush(e *endpoint, ref reference.Named, blobs []Upload) *push {
	return &push{endpoint: e, ref: ref, scopes: pushScopes(ref, blobs), report: serialize(nil), sending: semaphore.NewWeighted(parallelUploads)}
}

// blobs makes sure that the registry has all blobs, and says whether that is only assumed of some.
func (p *push) blobs(ctx context.Context, blobs []Upload) (assumed bool, err error) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelQuestions)
	seen := make(map[digest.Digest]bool)
	var todo []Upload
	for _, b := range blobs {
		if !seen[b.Desc.Digest] {
			seen[b.Desc.Digest] = true
			todo = append(todo, b)
			p.report(b.Desc, StatusWaiting, 0, b.Desc.Size)
		}
	}
	present := &p.endpoint.client.present
	for _, b := range todo {
		there := b.Expect == ExpectThere || present.lately(p.ref, b.Desc.Digest)
		if there && !p.doubt && !isForeign(b.Desc) {
			p.report(b.Desc, StatusExists, b.Desc.Size, b.Desc.Size)
			assumed = true
			continue
		}
		present.forget(p.ref, b.Desc.Digest)
		g.Go(func() error {
			err := p.blob(ctx, b)
			if err == nil && !isForeign(b.Desc) {
				present.note(p.ref, b.Desc.Digest)
			}
			return err
		})
	}
	return assumed, g.Wait()
}

// blob makes sure that the registry has a blob, with as little sent as possible.
func (p *push) blob(ctx context.Context, b Upload) error {
	size := b.Desc.Size
	if isForeign(b.Desc) {
		p.report(b.Desc, StatusSkipped, size, size)
		return nil
	}
	// A registry that has the blob in another repository takes it over at once, also where this one has it.
	location, from, err := p.mount(ctx, b)
	if err != nil {
		return err
	}
	if from != nil {
		b.Ahead.Drop(ctx)
		p.report(b.Desc, StatusMounted+" "+reference.Path(from), size, size)
		return nil
	}
	if b.Expect != ExpectAbsent {
		there, err := p.has(ctx, b.Desc.Digest)
		if err != nil {
			return err
		}
		if there {
			p.cancel(ctx, location)
			b.Ahead.Drop(ctx)
			p.report(b.Desc, StatusExists, size, size)
			return nil
		}
	}
	if b.Ahead != nil {
		sent, err := b.Ahead.finish(ctx, p, b)
		if err != nil {
			return err
		}
		p.cancel(ctx, location) // it has been open for as long as the blob was on its way
		if location = nil; sent {
			p.report(b.Desc, StatusPushed, size, size)
			return nil
		}
	}
	if err := p.sending.Acquire(ctx, 1); err != nil {
		return err
	}
	defer p.sending.Release(1)
	return p.upload(ctx, b, location)
}

// isForeign tells of layers that stay at the place their URLs name (image-spec, "Non-Distributable Layers").
func isForeign(d ocispec.Descriptor) bool {
	return len(d.URLs) > 0 && (strings.Contains(d.MediaType, ".foreign.") || strings.Contains(d.MediaType, ".nondistributable."))
}

func (p *push) path(rest string) string { return "/" + reference.Path(p.ref) + rest }

func (p *push) has(ctx context.Context, d digest.Digest) (bool, error) {
	question := request{method: http.MethodHead, path: p.path("/blobs/" + d.String()), scopes: p.scopes, once: p.once}
	resp, err := p.endpoint.read(ctx, question, http.StatusOK, http.StatusNotFound)
	if errors.Is(err, ErrUnauthorized) { // an answer to HEAD has no words; with others at once, one that has may come first
		question.method = http.MethodGet
		resp, err = p.endpoint.read(ctx, question, http.StatusOK, http.StatusNotFound)
	}
	if err != nil {
		return false, err
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK, nil
}

// mount tries to take the blob over from the other repositories. It returns the one that had it, or else the
// upload that the registry began instead, if it did.
func (p *push) mount(ctx context.Context, b Upload) (location *url.URL, from reference.Named, err error) {
	for _, from := range b.MountFrom {
		if from.Name() == p.ref.Name() {
			return nil, nil, nil // it was here once: more likely than not it still is
		}
	}
	for _, from := range b.MountFrom {
		if !mountable(p.ref, from) {
			continue
		}
		p.cancel(ctx, location)
		location = nil
		resp, err := p.endpoint.read(ctx, request{
			method: http.MethodPost, path: p.path("/blobs/uploads/"), scopes: p.scopes, once: p.once,
			query: url.Values{"mount": {b.Desc.Digest.String()}, "from": {reference.Path(from)}},
		}, http.StatusCreated, http.StatusAccepted)
		if err != nil {
			if ctx.Err() != nil {
				return nil, nil, err
			}
			continue // not allowed to, perhaps: the upload will tell
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusCreated {
			return nil, from, nil
		}
		if location, err = p.location(resp); err != nil {
			return nil, nil, err
		}
	}
	return location, nil, nil
}

// cancel gives up an upload that the registry began. It would drop it by itself, some day.
func (p *push) cancel(ctx context.Context, location *url.URL) {
	if location == nil {
		return
	}
	resp, err := p.endpoint.send(ctx, request{method: http.MethodDelete, url: location, scopes: p.scopes})
	if err == nil {
		resp.Body.Close()
	}
}

// location is where an answer says to go on. Registries behind a proxy that ends TLS may believe that they
// speak plain HTTP; that is corrected.
func (p *push) location(resp *http.Response) (*url.URL, error) {
	u, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || resp.Header.Get("Location") == "" {
		return nil, fmt.Errorf("%s began an upload without a Location header", p.endpoint.url.Host)
	}
	u = resp.Request.URL.ResolveReference(u)
	if u.Host == p.endpoint.url.Host {
		u.Scheme = p.endpoint.url.Scheme
	}
	return u, nil
}

// upload sends a blob, again from the start after a failure that looks passing.
func (p *push) upload(ctx context.Context, b Upload, location *url.URL) error {
	for try := 1; ; try++ {
		err := p.uploadOnce(ctx, b, location)
		if err == nil {
			p.report(b.Desc, StatusPushed, b.Desc.Size, b.Desc.Size)
			return nil
		}
		var local *localError
		if errors.As(err, &local) {
			return fmt.Errorf("reading %s: %w", b.Desc.Digest, local.err)
		}
		if p.once || !passing(err) || try == uploadTries {
			return err
		}
		if err := p.endpoint.client.wait(ctx, try, err); err != nil {
			return err
		}
		location = nil
	}
}

// uploadOnce sends a blob in one request (distribution spec, "POST then PUT").
func (p *push) uploadOnce(ctx context.Context, b Upload, location *url.URL) error {
	if location == nil {
		var err error
		if location, err = p.begin(ctx); err != nil {
			return err
		}
	}
	resp, err := p.endpoint.send(ctx, request{
		method: http.MethodPut,
		url:    withDigest(location, b.Desc),
		scopes: p.scopes,
		header: http.Header{"Content-Type": {"application/octet-stream"}},
		body: func() (io.ReadCloser, error) {
			body, err := b.Open()
			if err != nil {
				return nil, err
			}
			return &countedReader{ReadCloser: body, report: func(n int64) { p.report(b.Desc, StatusPushing, n, b.Desc.Size) }}, nil
		},
		size:   b.Desc.Size,
		finish: finishing,
	})
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusCreated {
		return newResponseError(p.endpoint.url.Host, resp)
	}
	return resp.Body.Close()
}

// begin opens an upload.
func (p *push) begin(ctx context.Context) (*url.URL, error) {
	resp, err := p.endpoint.send(ctx, request{method: http.MethodPost, path: p.path("/blobs/uploads/"), scopes: p.scopes})
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusAccepted {
		return nil, newResponseError(p.endpoint.url.Host, resp)
	}
	resp.Body.Close()
	return p.location(resp)
}

// manifest puts the manifest under the name's tag or digest. Doing it twice changes nothing, so it may be
// tried again.
func (p *push) manifest(ctx context.Context, m Blob) error {
	resp, err := p.endpoint.read(ctx, request{
		method: http.MethodPut,
		path:   p.path("/manifests/" + identifier(p.ref)),
		scopes: p.scopes,
		header: http.Header{"Content-Type": {m.MediaType}},
		body:   func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(m.Data)), nil },
		size:   int64(len(m.Data)),
	}, http.StatusCreated, http.StatusOK)
	if err != nil {
		return fmt.Errorf("sending the manifest: %w", err)
	}
	resp.Body.Close()
	got := digest.Digest(resp.Header.Get("Docker-Content-Digest"))
	if got != "" && got.Validate() == nil && got.Algorithm() == m.Digest.Algorithm() && got != m.Digest {
		return &DigestError{Want: m.Digest, Got: got, Host: p.endpoint.url.Host}
	}
	return nil
}

// countedReader reports how much of a body was read to be sent.
type countedReader struct {
	io.ReadCloser
	report func(n int64)
	n      int64
}

func (r *countedReader) Read(b []byte) (int, error) {
	n, err := r.ReadCloser.Read(b)
	if n > 0 {
		r.n += int64(n)
		r.report(r.n)
	}
	return n, err
}
