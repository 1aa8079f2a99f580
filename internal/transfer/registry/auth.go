package registry

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// authorizer answers a host's challenges. It sends nothing before it was challenged, so a registry that wants
// no login sees no credentials and costs no extra request.
type authorizer struct {
	host      string // whose challenges: "host:port"
	plain     func() bool
	keychain  authn.Keychain
	patience  time.Duration // with the token server
	transport http.RoundTripper

	mu        sync.Mutex
	challenge *transport.Challenge   // nil until the host asked
	login     *authn.AuthConfig      // nil until needed
	problem   error                  // why the login could not be looked up; we are nobody then
	tokens    map[string]token       // by scopes, of bearer challenges
	asking    map[string]*sync.Mutex // by scopes, held by whoever asks for the token
}

type token struct {
	value   string
	expires time.Time
}

// header returns the Authorization header for requests with these scopes, "" where there is nothing to send.
func (a *authorizer) header(ctx context.Context, scopes []string) (string, error) {
	value, asking := a.known(ctx, scopes)
	if asking == nil {
		return value, nil
	}
	asking.Lock()
	defer asking.Unlock()
	if value, asking = a.known(ctx, scopes); asking == nil { // who held the lock got it
		return value, nil
	}
	t, err := a.exchange(ctx, scopes)
	if err != nil {
		return "", err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tokens[strings.Join(scopes, " ")] = t
	return "Bearer " + t.value, nil
}

// known is the header that needs no request, or else the lock for asking for a token.
func (a *authorizer) known(ctx context.Context, scopes []string) (header string, asking *sync.Mutex) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.challenge == nil {
		return "", nil
	}
	if a.login == nil {
		a.lookUp(ctx)
	}
	if a.login.RegistryToken != "" {
		return "Bearer " + a.login.RegistryToken, nil
	}
	if a.challenge.Scheme != "bearer" {
		return basic(a.login), nil
	}
	for key, t := range a.tokens {
		if time.Now().Before(t.expires) && allows(strings.Fields(key), scopes) {
			return "Bearer " + t.value, nil
		}
	}
	key := strings.Join(scopes, " ")
	if a.asking[key] == nil {
		a.asking[key] = &sync.Mutex{}
	}
	return "", a.asking[key]
}

// allows says that a token for the scopes granted serves for those needed: of each resource at least the same actions.
// "repository:a:pull,push" allows what "repository:a:pull" does (distribution, docs/spec/auth/scope.md).
func allows(granted, needed []string) bool {
	for _, n := range needed {
		if !slices.ContainsFunc(granted, func(g string) bool { return scopeAllows(g, n) }) {
			return false
		}
	}
	return len(needed) > 0 || len(granted) == 0
}

func scopeAllows(granted, needed string) bool {
	g, n := strings.LastIndex(granted, ":"), strings.LastIndex(needed, ":")
	if g < 0 || n < 0 || granted[:g] != needed[:n] {
		return granted == needed
	}
	actions := strings.Split(granted[g+1:], ",")
	for action := range strings.SplitSeq(needed[n+1:], ",") {
		if !slices.Contains(actions, action) {
			return false
		}
	}
	return true
}

// lookUp finds the login. What is public can be had without one, so that a credential helper that is missing
// or fails matters only if access is denied then; Docker does the same.
func (a *authorizer) lookUp(ctx context.Context) {
	login, err := lookUp(ctx, a.keychain, a.host)
	if err != nil {
		a.problem = fmt.Errorf("the login that is kept for %s could not be read: %w", a.host, err)
		login = new(authn.AuthConfig)
	}
	a.login = login
}

// complain adds to a denial that the login could not be looked up, if so.
func (a *authorizer) complain(err error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.problem != nil && errors.Is(err, ErrUnauthorized) {
		return fmt.Errorf("%w; %w", err, a.problem)
	}
	return err
}

// challenged takes over what a 401 asks for. It returns whether trying again may help.
func (a *authorizer) challenged(header http.Header, sent string) bool {
	c := parseChallenges(header.Values("WWW-Authenticate"))
	if c == nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.challenge = c
	for key, t := range a.tokens {
		if sent == "Bearer "+t.value {
			delete(a.tokens, key) // expired or revoked before its time, or it allows less than was asked for
		}
	}
	return sent == "" || c.Scheme == "bearer"
}

// exchange gets a token from the realm that the challenge names.
func (a *authorizer) exchange(ctx context.Context, scopes []string) (token, error) {
	a.mu.Lock()
	challenge := *a.challenge
	a.mu.Unlock()
	challenge.Insecure = a.plain()
	reg, err := name.NewRegistry(a.realmOwner(challenge.Parameters["realm"]), name.WeakValidation)
	if err != nil {
		return token{}, fmt.Errorf("token realm of %s: %w", a.host, err)
	}
	limited, cancel := context.WithTimeout(ctx, a.patience)
	defer cancel()
	got, err := transport.Exchange(limited, reg, authn.FromConfig(*a.login), a.transport, scopes, &challenge)
	if err != nil {
		return token{}, a.exchangeError(ctx, err)
	}
	t := token{value: got.AccessToken}
	if t.value == "" {
		t.value = got.Token
	}
	lifetime := time.Duration(got.ExpiresIn) * time.Second
	if lifetime <= 0 {
		lifetime = time.Minute // "for compatibility", says the token specification
	}
	t.expires = time.Now().Add(lifetime - min(10*time.Second, lifetime/4))
	return t, nil
}

// realmOwner is the registry on whose behalf a token is asked for. go-containerregistry refuses realms on
// private addresses other than the registry's own, since a registry of the Internet has no business to send
// us there; a registry that is itself on a private network may have its token server beside it.
func (a *authorizer) realmOwner(address string) string {
	realm, err := url.Parse(address)
	if err == nil && isPrivate(a.host) && isPrivate(realm.Host) {
		return realm.Host
	}
	return a.host
}

func isPrivate(host string) bool {
	ip := net.ParseIP(hostname(host))
	return isLoopback(host) || ip != nil && ip.IsPrivate()
}

// exchangeError drops what a token server's answer or URL may hold: only the status and the server's words
// remain.
func (a *authorizer) exchangeError(ctx context.Context, err error) error {
	var answer *transport.Error
	if errors.As(err, &answer) {
		var words []string
		for _, d := range answer.Errors {
			words = append(words, d.Message)
		}
		return &responseError{host: "the token server of " + a.host, status: answer.StatusCode, detail: printable(strings.Join(words, "; "))}
	}
	if strings.Contains(err.Error(), "no token in bearer response") {
		return fmt.Errorf("the token server of %s gave no token", a.host)
	}
	return newConnectError(ctx, a.host, err)
}

// basic returns the header for a user and password, "" where there are none.
func basic(login *authn.AuthConfig) string {
	switch {
	case login.Username != "":
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(login.Username+":"+login.Password))
	case login.Auth != "":
		return "Basic " + login.Auth
	}
	return ""
}

// parseChallenges returns the challenge to answer among those of WWW-Authenticate (RFC 7235, 2.1): the first
// for bearer tokens, else the first for a password, else nil.
func parseChallenges(values []string) *transport.Challenge {
	var found *transport.Challenge
	for _, v := range values {
		for _, c := range splitChallenges(v) {
			if c.Scheme == "bearer" && c.Parameters["realm"] != "" {
				return &c
			}
			if c.Scheme == "basic" && found == nil {
				found = &c
			}
		}
	}
	return found
}

// splitChallenges reads `Bearer realm="…",service="…", Basic realm="…"`.
func splitChallenges(s string) (all []transport.Challenge) {
	for {
		s = strings.TrimLeft(s, ", \t")
		word := s[:len(s)-len(strings.TrimLeft(s, tokenChars))]
		if word == "" {
			return all
		}
		s = s[len(word):]
		rest := strings.TrimLeft(s, " \t")
		if !strings.HasPrefix(rest, "=") || len(all) == 0 { // a scheme
			all = append(all, transport.Challenge{Scheme: strings.ToLower(word), Parameters: make(map[string]string)})
			continue
		}
		var value string
		value, s = challengeValue(strings.TrimLeft(rest[1:], " \t"))
		all[len(all)-1].Parameters[strings.ToLower(word)] = value
	}
}

const tokenChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~"

// challengeValue reads a token or a quoted string from the start of s.
func challengeValue(s string) (value, rest string) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, ", \t")
		if end < 0 {
			end = len(s)
		}
		return s[:end], s[end:]
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:]
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}
