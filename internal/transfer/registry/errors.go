package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// What callers branch on, with errors.Is. The messages of the errors that wrap them stand on their own.
var (
	// ErrNotFound: no registry that was asked has the name.
	ErrNotFound = errors.New("no registry knows it")
	// ErrUnauthorized: the registry wants a login, or refuses the one that it was given.
	ErrUnauthorized = errors.New("access denied")
	// ErrUnreachable: there was no answer from the registry.
	ErrUnreachable = errors.New("registry not reachable")
	// ErrPlatform: the image exists, but not for the platform asked for.
	ErrPlatform = errors.New("no such platform")
	// ErrAltered: the registry got other bytes of a blob than its digest promises.
	ErrAltered = errors.New("the bytes sent do not match their digest")
	// ErrNotLoggedIn: there are no credentials to remove.
	ErrNotLoggedIn = errors.New("not logged in")
)

// DigestError is a blob whose bytes are not what its digest promises.
type DigestError struct {
	Want, Got digest.Digest
	Host      string // where the bytes came from, "" where unknown
}

func (e *DigestError) Error() string {
	from := ""
	if e.Host != "" {
		from = " from " + e.Host
	}
	return fmt.Sprintf("the bytes%s do not match their digest: %s was promised, %s came; they were damaged or changed on the way or in the registry", from, e.Want, e.Got)
}

// Unanswered says of an error that the registry did not say whether it has a name: it could not be reached in time,
// wants a login, or failed itself.
func Unanswered(err error) bool {
	var resp *responseError
	return errors.Is(err, ErrUnreachable) || errors.Is(err, ErrUnauthorized) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &resp) && (resp.status >= 500 || resp.status == http.StatusTooManyRequests)
}

// nameError is a failure that concerns one name, told for the person who typed it.
type nameError struct {
	kind    error // one of the sentinels above, or nil
	message string
	cause   error
}

func (e *nameError) Error() string { return e.message }

func (e *nameError) Unwrap() []error {
	if e.kind == nil {
		return []error{e.cause}
	}
	return []error{e.kind, e.cause}
}

// responseError is an HTTP answer that says no.
type responseError struct {
	host       string
	status     int
	detail     string // the registry's own words, may be ""
	retryAfter time.Duration
	// lacks says that a manifest was refused since the registry has not all of its blobs (distribution-spec,
	// MANIFEST_BLOB_UNKNOWN).
	lacks bool
	// altered says that a blob was refused for its digest (distribution-spec, DIGEST_INVALID).
	altered bool
}

func (e *responseError) Error() string {
	s := fmt.Sprintf("%s answered %d %s", e.host, e.status, http.StatusText(e.status))
	if e.detail != "" {
		s += ": " + e.detail
	}
	return s
}

func (e *responseError) Is(target error) bool {
	switch target {
	case ErrNotFound:
		return e.status == http.StatusNotFound
	case ErrAltered:
		return e.altered
	case ErrUnauthorized:
		return e.status == http.StatusUnauthorized || e.status == http.StatusForbidden
	}
	return false
}

// transient tells whether the same request may be answered differently a moment later.
func (e *responseError) transient() bool {
	switch e.status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// newResponseError takes over an answer that says no, and closes its body.
func newResponseError(host string, resp *http.Response) *responseError {
	defer resp.Body.Close()
	e := &responseError{host: host, status: resp.StatusCode}
	if seconds, err := time.ParseDuration(resp.Header.Get("Retry-After") + "s"); err == nil && seconds > 0 {
		e.retryAfter = min(seconds, 10*time.Second)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return e
	}
	var reply struct {
		Errors []struct{ Code, Message string }
	}
	if json.Unmarshal(body, &reply) != nil {
		return e
	}
	var words []string
	for _, d := range reply.Errors {
		e.altered = e.altered || d.Code == "DIGEST_INVALID"
		e.lacks = e.lacks || d.Code == "MANIFEST_BLOB_UNKNOWN" || d.Code == "BLOB_UNKNOWN"
		if w := strings.TrimSpace(d.Message); w != "" {
			words = append(words, w)
		} else if d.Code != "" {
			words = append(words, d.Code)
		}
	}
	e.detail = printable(strings.Join(words, "; "))
	return e
}

// printable makes a server's words fit for a terminal.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
	if r := []rune(s); len(r) > 300 {
		s = string(r[:300]) + "…"
	}
	return s
}

// connectError is a request that got no answer, or whose answer broke off.
type connectError struct {
	host string
	err  error
}

func (e *connectError) Error() string { return fmt.Sprintf("no answer from %s: %v", e.host, e.err) }
func (e *connectError) Unwrap() error { return e.err }

func (e *connectError) Is(target error) bool { return target == ErrUnreachable }

// redirectError is a redirect that is not followed, since it leads from https to plain http.
type redirectError struct{ from, to string }

func (e *redirectError) Error() string {
	return fmt.Sprintf("%s sends us on from https to %s, where everyone can read along: refusing the redirect; list %s as an insecure registry if that is meant", e.from, e.to, e.from)
}

// newConnectError drops the URL from what net/http reports: after a redirect it may carry a signature.
func newConnectError(ctx context.Context, host string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var redirect *redirectError
	if errors.As(err, &redirect) {
		return redirect
	}
	var u *url.Error
	for errors.As(err, &u) {
		err = u.Err
	}
	return &connectError{host: host, err: err}
}

// failure is what an endpoint that was asked about a name said.
type failure struct {
	err    error
	mirror bool
}

// explain makes what the endpoints said about ref one error for the person. The registry itself decides of
// which kind it is; where it was not asked, the last mirror that answered.
func explain(ref reference.Named, failures ...failure) error {
	who := reference.FamiliarString(ref)
	if len(failures) == 0 {
		return &nameError{message: who + ": hosts.toml leaves no host that may be asked for this: look at its capabilities", cause: errors.ErrUnsupported}
	}
	chief := 0
	for i, f := range failures {
		if !f.mirror || failures[chief].mirror && (!errors.Is(f.err, ErrUnreachable) || errors.Is(failures[chief].err, ErrUnreachable)) {
			chief = i
		}
	}
	cause := failures[chief].err
	if errors.Is(cause, context.Canceled) || errors.Is(cause, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", who, cause)
	}
	e := &nameError{cause: cause}
	e.message, e.kind = tell(reference.Domain(ref), cause)
	e.message = who + ": " + e.message
	for i, f := range failures {
		if i != chief {
			e.message += fmt.Sprintf(" (mirror: %v)", f.err)
		}
	}
	return e
}

// tell says what an endpoint's error means for a name in the given domain, and what to do about it.
func tell(domain string, err error) (message string, kind error) {
	var resp *responseError
	var conn *connectError
	switch {
	case errors.Is(err, ErrNotFound):
		return fmt.Sprintf("no registry knows it: %v; check the spelling, or `strata login %s` if it is private", err, domain), ErrNotFound
	case errors.Is(err, ErrUnauthorized):
		return fmt.Sprintf("access denied: %v; it is private or does not exist: check the spelling, or `strata login %s`", err, domain), ErrUnauthorized
	case errors.As(err, &conn):
		return fmt.Sprintf("registry %s is not reachable: %s", conn.host, connectAdvice(conn)), ErrUnreachable
	case errors.As(err, &resp) && resp.status == http.StatusTooManyRequests:
		return fmt.Sprintf("%v; wait, or `strata login %s` for a higher limit", err, domain), nil
	case errors.As(err, &resp) && resp.status >= 500:
		return fmt.Sprintf("%v; the fault is the registry's: try again later", err), nil
	}
	return err.Error(), nil
}

// connectAdvice says why there was no answer and what to look at.
func connectAdvice(e *connectError) string {
	reason := e.err.Error()
	switch {
	case strings.Contains(reason, "server gave HTTP response to HTTPS client"):
		return "it speaks plain HTTP; if you trust the network, list it as an insecure registry"
	case strings.Contains(reason, "certificate"):
		return fmt.Sprintf("%s; put the authority's certificate into certs.d/%s/ca.crt", reason, e.host)
	case strings.Contains(reason, "no such host"):
		return reason + "; check the host's spelling and the network"
	case strings.Contains(reason, "connection refused"):
		return reason + "; check host and port, and that the registry runs"
	}
	return reason + "; check the network and HTTPS_PROXY, and try again"
}
