package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
)

const (
	// maxFile is the largest file that is taken, so that an endless answer does not fill the disk.
	maxFile = 64 << 30
	// tries is how often a server is asked that is overloaded or breaks off without having sent anything new.
	tries = 4
)

// client follows redirects, goes through the proxies of the environment and trusts the system's certificates. It is
// made for each download: nothing is gained by keeping connections of a build open.
func client() (*http.Client, func()) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = 2 * time.Minute
	t.DisableCompression = true // the file is what the server has, not what it makes of it
	return &http.Client{Transport: t, CheckRedirect: checkRedirect}, t.CloseIdleConnections
}

// checkRedirect keeps an authorization with the origin (scheme, host and port) that it was given
// for, as curl does since 7.83: net/http alone would send it on to another port of the host, and
// from https to http.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("stopped after 10 redirects")
	}
	if first := via[0].URL; req.URL.Scheme != first.Scheme || req.URL.Host != first.Host {
		req.Header.Del("Authorization")
	}
	return nil
}

// statusError is an answer that is no file.
type statusError struct {
	code   int
	status string
}

func (e *statusError) Error() string { return "the server answered " + e.status }

func (e *statusError) temporary() bool {
	switch e.code {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// ask asks the server; nil says that what is known is still what it has. Otherwise the bytes are in the file partial.
func (d *download) ask(ctx context.Context, known *answer) (*answer, error) {
	c, done := client()
	defer done()
	for try := 1; ; try++ {
		before := d.partialSize()
		a, err := d.askOnce(ctx, c, known)
		if err == nil || ctx.Err() != nil {
			return a, err
		}
		if d.partialSize() > before {
			try = 0 // it goes on
		}
		if !worthAgain(err) || try >= tries {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(time.Duration(try) * 300 * time.Millisecond):
		}
	}
}

// worthAgain says whether asking once more may help: the server is overloaded, or the connection broke.
func worthAgain(err error) bool {
	var status *statusError
	if errors.As(err, &status) {
		return status.temporary()
	}
	return errors.Is(err, errStalled) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}

// errStalled ends a request in which no byte moved for the Fetcher's Stall.
var errStalled = errors.New("the server stopped sending")

func (d *download) askOnce(ctx context.Context, c *http.Client, known *answer) (_ *answer, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(d.fetcher.Stall, func() { cancel(errStalled) })
	defer timer.Stop()
	defer func() {
		if err != nil && errors.Is(context.Cause(ctx), errStalled) {
			err = errStalled
		}
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url, nil)
	if err != nil {
		return nil, err
	}
	if err := d.authorize(req); err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "strata")
	began, b := d.resumed()
	if began != nil {
		defer began.Close()
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", began.size))
		req.Header.Set("If-Range", b.Validator)
	} else {
		condition(req, known)
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, plain(err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotModified && known != nil:
		return nil, nil
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && began != nil:
		return nil, errors.Join(io.ErrUnexpectedEOF, d.forgetPartial())
	case resp.StatusCode == http.StatusPartialContent && began != nil && rangeBegins(resp, began.size):
	case resp.StatusCode == http.StatusOK:
		began = nil
		if known != nil && same(resp, known) {
			return nil, nil // a server that knows no conditions: the body is not read
		}
	default:
		return nil, &statusError{resp.StatusCode, resp.Status}
	}
	return d.save(resp, began, func() { timer.Reset(d.fetcher.Stall) })
}

// plain is an error of a request without the URL, which may hold a password and is told anyway.
func plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// condition asks for the bytes only if they are not those that are here.
func condition(req *http.Request, known *answer) {
	if known == nil {
		return
	}
	if known.ETag != "" {
		req.Header.Set("If-None-Match", known.ETag)
	}
	if known.Strong {
		req.Header.Set("If-Modified-Since", known.LastModified)
	}
}

// same says that an answer is of what is known, by its ETag.
func same(resp *http.Response, known *answer) bool {
	return known.ETag != "" && strings.TrimPrefix(resp.Header.Get("ETag"), "W/") == strings.TrimPrefix(known.ETag, "W/")
}

func rangeBegins(resp *http.Response, at int64) bool {
	return strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", at))
}

// save appends the body to what began, nil for the beginning, and calls moved whenever there is more of it.
func (d *download) save(resp *http.Response, began *partial, moved func()) (_ *answer, err error) {
	written, err := d.fetcher.Store.MarkWriting(d.dir)
	if err != nil {
		return nil, fmt.Errorf("keeping the file: %w", err)
	}
	defer written()
	if began == nil {
		if err = d.forgetPartial(); err == nil {
			began, err = d.begin()
		}
	} else {
		err = began.Truncate(began.size)
	}
	if err != nil {
		return nil, fmt.Errorf("keeping the file: %w", err)
	}
	defer began.Close()
	a := readAnswer(resp)
	total := int64(0)
	if resp.ContentLength >= 0 {
		total = began.size + resp.ContentLength
	}
	body := &meter{io.LimitReader(resp.Body, maxFile-began.size+1), began.size, func(n int64) {
		moved()
		if d.shown == nil {
			d.shown = d.fetcher.begin(d.url)
		}
		d.shown.bytes(n, total)
	}}
	w := &noting{partial: began, download: d, validator: a.rangeValidator(), noted: began.size}
	// Without what File can do besides, a Write is what is called.
	if _, err := io.Copy(struct{ io.Writer }{w}, body); err != nil {
		return nil, errors.Join(plain(err), w.note())
	}
	if a.Size = began.size; a.Size > maxFile {
		return nil, errors.Join(fmt.Errorf("the file is larger than %d GiB; fetch it in a RUN", maxFile>>30), d.forgetPartial())
	}
	a.Digest = digest.NewDigest(digest.SHA256, began.hash)
	return a, began.File.Close()
}

func readAnswer(resp *http.Response) *answer {
	a := &answer{
		ETag: resp.Header.Get("ETag"), LastModified: resp.Header.Get("Last-Modified"),
		Disposition: resp.Header.Get("Content-Disposition"),
	}
	modified, err := parseTime(a.LastModified)
	if err == nil {
		at, err := parseTime(resp.Header.Get("Date"))
		if err != nil {
			at = time.Now()
		}
		a.Strong = at.Sub(modified) > time.Second
	}
	return a
}

// rangeValidator is what If-Range takes: no weak ETag (RFC 9110, 13.1.5).
func (a *answer) rangeValidator() string {
	switch {
	case a.ETag != "" && !strings.HasPrefix(a.ETag, "W/"):
		return a.ETag
	case a.ETag == "" && a.Strong:
		return a.LastModified
	}
	return ""
}

func parseTime(text string) (time.Time, error) { return http.ParseTime(text) }

// authorize adds what a secret of the build says: HTTP_AUTH_HEADER_<host> is the whole header, HTTP_AUTH_TOKEN_<host> a
// bearer's token (BuildKit, source/http). A redirect to another origin does not get it (checkRedirect).
func (d *download) authorize(req *http.Request) error {
	header := "HTTP_AUTH_HEADER_" + req.URL.Hostname()
	id, value, err := d.fetcher.secret(header, "HTTP_AUTH_TOKEN_"+req.URL.Hostname())
	if err != nil || id == "" {
		return err
	}
	text := strings.TrimSpace(string(value))
	if id != header {
		text = "Bearer " + text
	}
	req.Header.Set("Authorization", text)
	return nil
}

// hint says what can be done about an error.
func (d *download) hint(err error, known *answer) error {
	var status *statusError
	asked := errors.As(err, &status)
	host := ""
	if u, e := url.Parse(d.url); e == nil {
		host = u.Hostname()
	}
	switch {
	case asked && (status.code == http.StatusUnauthorized || status.code == http.StatusForbidden):
		return fmt.Errorf("%w; if it wants a token, give it with --secret id=HTTP_AUTH_TOKEN_%s,src=FILE", err, host)
	case asked && !status.temporary():
		return fmt.Errorf("%w; see whether the address is right", err)
	}
	u := &UnreachableError{Cause: err}
	if known != nil {
		u.Known = known.Digest.String()
	}
	return u
}

// meter tells how much was read.
type meter struct {
	io.Reader
	n    int64
	tell func(int64)
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	m.n += int64(n)
	m.tell(m.n)
	return n, err
}
