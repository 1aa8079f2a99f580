package registry

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// endpoint is one host that requests go to: a registry or a mirror of one.
type endpoint struct {
	hostConfig
	client *Client
	domain string // whose names it serves
	http   *http.Client
	auth   *authorizer
	down   atomic.Bool // it did not answer; mirrors are passed over then

	settling chan struct{} // has room for the one that settles
	settled  bool          // url.Scheme is known to be right
}

func (c *Client) newEndpoint(h hostConfig, domain string) *endpoint {
	if h.maybePlain {
		h.tls = h.tls.Clone()
		h.tls.InsecureSkipVerify = true
	}
	e := &endpoint{hostConfig: h, client: c, domain: domain, settling: make(chan struct{}, 1), settled: !h.maybePlain}
	t := newTransport(h.tls)
	e.http = &http.Client{Transport: t, CheckRedirect: e.checkRedirect}
	e.auth = &authorizer{
		host:      h.url.Host,
		plain:     func() bool { return e.url.Scheme == "http" },
		keychain:  c.keychain(),
		patience:  c.stall,
		transport: &tokenTransport{inner: t, agent: c.config.UserAgent},
		tokens:    make(map[string]token),
		asking:    make(map[string]*sync.Mutex),
	}
	return e
}

// newTransport has limits for each part of getting a connection; how long an answer may take is for the
// caller's watch to say.
func newTransport(config *tls.Config) *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:     config,
		TLSHandshakeTimeout: 15 * time.Second,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 8,
		IdleConnTimeout:     90 * time.Second,
		WriteBufferSize:     64 << 10, // a piece of a body, 32 KB in net/http, goes out in one write
		DisableCompression:  true,     // ranges and digests are of the bytes as they are stored
	}
}

// tokenTransport is what requests to token servers go through.
type tokenTransport struct {
	inner http.RoundTripper
	agent string
}

// RoundTrip keeps the login of a request that was redirected with the origin (scheme, host and port) that it was meant
// for: net/http alone would send it on to another port, and from https to http. A form with a refresh token does not
// follow at all.
func (t *tokenTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	first := req
	for first.Response != nil && first.Response.Request != nil {
		first = first.Response.Request
	}
	req = req.Clone(req.Context())
	req.Header.Set("User-Agent", t.agent)
	if req.URL.Scheme != first.URL.Scheme || req.URL.Host != first.URL.Host {
		if req.Method == http.MethodPost {
			return nil, fmt.Errorf("%s sends a login on to %s://%s: refusing the redirect; tell whoever runs it",
				first.URL.Host, req.URL.Scheme, req.URL.Host)
		}
		req.Header.Del("Authorization")
	}
	return t.inner.RoundTrip(req)
}

// checkRedirect keeps our login and the configured headers from going to another host: net/http would send
// them on to another port or a subdomain.
func (e *endpoint) checkRedirect(req *http.Request, via []*http.Request) error {
	first := via[0].URL
	if len(via) >= 10 {
		return errors.New("stopped after 10 redirects")
	}
	if first.Scheme == "https" && req.URL.Scheme != "https" && !e.maybePlain {
		return &redirectError{from: first.Host, to: req.URL.Scheme + "://" + req.URL.Host}
	}
	if req.URL.Host != first.Host || req.URL.Scheme != first.Scheme {
		req.Header.Del("Authorization")
		for key := range e.header {
			req.Header.Del(key)
		}
	}
	return nil
}

// request is what to ask an endpoint for.
type request struct {
	method string
	path   string // below the endpoint's base: /<repository>/manifests/latest
	query  url.Values
	url    *url.URL // whole, instead of path and query: where the registry said to go on
	scopes []string // what a token has to allow, as in the token specification
	header http.Header
	body   func() (io.ReadCloser, error) // opened for each try
	size   int64                         // of the body; unknownSize sends it in chunks
	finish time.Duration                 // how long the answer may take once the body is sent; at least Client.stall
	once   bool                          // read does not ask again
}

// unknownSize is the size of a body that nobody knows before its end.
const unknownSize = -1

// send sends a request and answers the host's challenge. Any status but 401 is returned as it came.
func (e *endpoint) send(ctx context.Context, r request) (*http.Response, error) {
	settled, err := e.settle(ctx, r)
	if err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		resp, login := settled, ""
		if settled = nil; resp == nil {
			if login, err = e.auth.header(ctx, r.scopes); err != nil {
				return nil, e.auth.complain(err)
			}
			resp, err = e.once(ctx, r, login)
		}
		if err != nil || resp.StatusCode != http.StatusUnauthorized {
			return resp, err
		}
		// A redirect's target may ask for a login, too; ours is not meant for it.
		sameHost := resp.Request.URL.Host == e.url.Host
		answer := newResponseError(e.url.Host, resp)
		if try > 0 || !sameHost || !e.auth.challenged(resp.Header, login) {
			return nil, e.auth.complain(answer)
		}
	}
}

// target is the URL of a request.
func (e *endpoint) target(r request) *url.URL {
	if r.url != nil {
		return r.url
	}
	u := *e.url
	u.Path += r.path
	query := url.Values{}
	for key, values := range r.query {
		query[key] = values
	}
	if e.mirror {
		query.Set("ns", e.domain) // tells a mirror of several registries whose name it is (containerd)
	}
	u.RawQuery = query.Encode()
	return &u
}

// once sends a request one time. The answer's body ends the watch over it when it is closed.
func (e *endpoint) once(ctx context.Context, r request, login string) (*http.Response, error) {
	w := newWatch(ctx, e.client.stall, max(e.client.stall, r.finish))
	u := e.target(r)
	req, err := http.NewRequestWithContext(w.ctx, r.method, u.String(), nil)
	if err != nil {
		w.stop()
		return nil, err
	}
	if r.body != nil {
		req.ContentLength = r.size
		req.GetBody = func() (io.ReadCloser, error) {
			body, err := r.body()
			if err != nil {
				return nil, &localError{err}
			}
			return &watchedReader{body: body, watch: w, local: true}, nil
		}
		if req.Body, err = req.GetBody(); err != nil {
			w.stop()
			return nil, err
		}
		if r.size == 0 {
			req.Body.Close()
			req.Body = http.NoBody
		}
	}
	e.setHeader(req, r.header, login)
	resp, err := e.http.Do(req)
	if err != nil {
		w.stop()
		return nil, w.explain(ctx, e.url.Host, err)
	}
	e.down.Store(false)
	w.timer.Stop() // until the body is read
	resp.Body = &watchedReader{body: resp.Body, watch: w, host: e.url.Host, caller: ctx, last: true}
	return resp, nil
}

// setHeader gives the login and the configured headers only to the endpoint's own host: an upload's location
// may be elsewhere.
func (e *endpoint) setHeader(req *http.Request, header http.Header, login string) {
	for key, values := range header {
		req.Header[key] = values
	}
	req.Header.Set("User-Agent", e.client.config.UserAgent)
	if req.URL.Host != e.url.Host || req.URL.Scheme != e.url.Scheme {
		return
	}
	for key, values := range e.header {
		req.Header[http.CanonicalHeaderKey(key)] = values
	}
	if login != "" {
		req.Header.Set("Authorization", login)
	}
}

// read sends a request without side effects, again where the answer or its absence looks passing. Statuses
// other than those wanted are errors.
func (e *endpoint) read(ctx context.Context, r request, want ...int) (*http.Response, error) {
	for try := 1; ; try++ {
		resp, err := e.send(ctx, r)
		if err == nil {
			for _, status := range want {
				if resp.StatusCode == status {
					return resp, nil
				}
			}
			err = newResponseError(e.url.Host, resp)
		}
		if r.once || !transient(err) || try == 3 {
			e.noteDown(err)
			return nil, err
		}
		if werr := e.client.wait(ctx, try, err); werr != nil {
			return nil, werr
		}
	}
}

// noteDown remembers of a mirror that it does not answer.
func (e *endpoint) noteDown(err error) {
	var conn *connectError
	if errors.As(err, &conn) {
		e.down.Store(true)
	}
}

// transient tells whether trying again may help: not where nobody listens or the name does not exist.
func transient(err error) bool {
	var resp *responseError
	if errors.As(err, &resp) {
		return resp.transient()
	}
	var conn *connectError
	if !errors.As(err, &conn) {
		return false
	}
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" || isTLSRefusal(err) {
		return false
	}
	return !errors.Is(err, errStalled)
}

func isTLSRefusal(err error) bool {
	var verify *tls.CertificateVerificationError
	var header tls.RecordHeaderError
	return errors.As(err, &verify) || errors.As(err, &header) ||
		strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") ||
		strings.Contains(err.Error(), "tls: ")
}

// wait sleeps before the try-th repetition, as long as the registry asked for if it did.
func (c *Client) wait(ctx context.Context, try int, err error) error {
	pause := c.backoff(try)
	var resp *responseError
	if errors.As(err, &resp) {
		pause = max(pause, resp.retryAfter)
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// settle finds out whether a host that may be plain HTTP is. On this machine http is asked first, elsewhere https, so
// that nobody who has it is talked to in the clear. No login is sent. What is asked is the request itself, so that no
// round trip is lost; the answer is nil where that was done already, and the request is still to be sent.
func (e *endpoint) settle(ctx context.Context, r request) (*http.Response, error) {
	select { // the one whose turn it is may wait for long
	case e.settling <- struct{}{}:
		defer func() { <-e.settling }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if e.settled {
		return nil, nil
	}
	schemes := []string{"https", "http"}
	if isLoopback(e.url.Host) {
		schemes = []string{"http", "https"}
	}
	var errs []error
	for _, scheme := range schemes {
		e.url.Scheme = scheme
		resp, err := e.once(ctx, r, "")
		if err == nil && scheme == "http" && resp.StatusCode == http.StatusBadRequest {
			err = ofTLS(e.url.Host, resp)
		}
		if err == nil {
			e.settled = true
			return resp, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		errs = append(errs, err)
	}
	return nil, errs[0]
}

// ofTLS is an error where an answer is what TLS servers answer to plain HTTP, and not a registry's own, which says in
// JSON what is bad.
func ofTLS(host string, resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	resp.Body.Close()
	if err == nil && json.Valid(body) {
		resp.Body = io.NopCloser(bytes.NewReader(body))
		return nil
	}
	return &responseError{host: host, status: resp.StatusCode}
}
