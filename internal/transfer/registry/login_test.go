package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/strata-build/strata/internal/transfer/registry/registrytest"
)

func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }

// newClientWith returns a client with this configuration, little patience and its own credentials.
func newClientWith(tb testing.TB, config Config) *Client {
	tb.Helper()
	if config.DockerConfig == "" {
		config.DockerConfig = tb.TempDir()
	}
	c := New(config)
	c.backoff = func(int) time.Duration { return time.Millisecond }
	return c
}

func TestLogin(t *testing.T) {
	ctx := t.Context()
	host := registrytest.StartAuth(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "config.json")
	writeFile(t, file, `{"detachKeys":"ctrl-x","auths":{"other.test":{"auth":"eDp5","more":1}},"future":{"a":[1,2]}}`)
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	c := newClientWith(t, Config{DockerConfig: dir})
	ref := mustName(t, host+"/me/app:1")
	blobs, manifest := testImage(t, amd64, noise(40, 1000))

	_, err := c.Push(ctx, ref, blobs, manifest, nil)
	if !errors.Is(err, ErrUnauthorized) || !strings.Contains(err.Error(), "strata login "+host) {
		t.Errorf("push without login: %v", err)
	}
	_, err = c.Login(ctx, host, registrytest.User, "wrong-password")
	if !errors.Is(err, ErrUnauthorized) || strings.Contains(err.Error(), "wrong-password") {
		t.Errorf("wrong password: %v", err)
	}
	if data, _ := os.ReadFile(file); strings.Contains(string(data), host) {
		t.Error("wrong credentials were kept")
	}
	status, err := c.Login(ctx, "https://"+host+"/v2/", registrytest.User, registrytest.Password)
	if err != nil || status != "Login Succeeded" {
		t.Fatalf("login: %q, %v", status, err)
	}
	var got any
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"detachKeys": "ctrl-x",
		"future":     map[string]any{"a": []any{1.0, 2.0}},
		"auths": map[string]any{
			"other.test": map[string]any{"auth": "eDp5", "more": 1.0},
			host:         map[string]any{"auth": "c3RyYXRhOmNvcnJlY3QtaG9yc2U="},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("config.json (-want +got):\n%s", diff)
	}
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}

	if _, err := c.Push(ctx, ref, blobs, manifest, nil); err != nil {
		t.Errorf("push after login: %v", err)
	}
	if _, err := newClientWith(t, Config{DockerConfig: dir}).Resolve(ctx, ref, amd64); err != nil {
		t.Errorf("another process: %v", err)
	}

	if err := c.Logout(host); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Resolve(ctx, ref, amd64); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("after logout: %v", err)
	}
	if err := c.Logout(host); !errors.Is(err, ErrNotLoggedIn) {
		t.Errorf("second logout: %v", err)
	}
	if data, _ := os.ReadFile(file); !strings.Contains(string(data), "other.test") || !strings.Contains(string(data), "future") {
		t.Errorf("logout removed too much: %s", data)
	}
}

// The credentials that DOCKER_CONFIG names are used, and config.json may be a link.
func TestDockerConfigEnvironment(t *testing.T) {
	host := registrytest.StartAuth(t)
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	t.Setenv("HOME", t.TempDir())
	target := filepath.Join(t.TempDir(), "real.json")
	writeFile(t, target, "")
	if err := os.Symlink(target, filepath.Join(dir, "config.json")); err != nil {
		t.Fatal(err)
	}
	c := New(Config{})
	if _, err := c.Login(t.Context(), host, registrytest.User, registrytest.Password); err != nil {
		t.Fatal(err)
	}
	if data, _ := os.ReadFile(target); !strings.Contains(string(data), host) {
		t.Errorf("the link's target has no login: %s", data)
	}
	if _, err := c.Resolve(t.Context(), mustName(t, host+"/no:1"), amd64); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v, want ErrNotFound after the login was accepted", err)
	}
}

func TestCredentialHelper(t *testing.T) {
	host := registrytest.StartAuth(t)
	bin, dir := t.TempDir(), t.TempDir()
	helper := filepath.Join(bin, "docker-credential-box")
	writeFile(t, helper, `#!/bin/sh
f=`+bin+`/secret
case $1 in
store) cat >$f ;;
get) cat >/dev/null; [ -f $f ] && exec cat $f; echo "credentials not found in native keychain"; exit 1 ;;
erase) cat >/dev/null; rm $f ;;
esac
`)
	if err := os.Chmod(helper, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	file := filepath.Join(dir, "config.json")
	writeFile(t, file, `{"credHelpers":{"`+host+`":"box"},"credsStore":"absent"}`)
	c := newClientWith(t, Config{DockerConfig: dir})
	if _, err := c.Login(t.Context(), host, registrytest.User, registrytest.Password); err != nil {
		t.Fatal(err)
	}
	data, _ := os.ReadFile(file)
	if strings.Contains(string(data), `"auth"`) || !strings.Contains(string(data), `"`+host+`": {}`) {
		t.Errorf("config.json: %s", data)
	}
	secret, _ := os.ReadFile(filepath.Join(bin, "secret"))
	if !strings.Contains(string(secret), registrytest.Password) {
		t.Errorf("the helper got %q", secret)
	}
	if _, err := c.Resolve(t.Context(), mustName(t, host+"/no:1"), amd64); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v, want ErrNotFound after the login was accepted", err)
	}
	if err := c.Logout(host); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(bin, "secret")); err == nil {
		t.Error("the helper still has the secret")
	}
}

func TestHubNames(t *testing.T) {
	for _, host := range []string{"", "docker.io", "index.docker.io", "registry-1.docker.io", "https://index.docker.io/v1/"} {
		if got := credentialKey(loginHost(host)); got != "https://index.docker.io/v1/" {
			t.Errorf("%q: key %q", host, got)
		}
	}
	if got := credentialKey(loginHost("reg.test:5000")); got != "reg.test:5000" {
		t.Errorf("key %q", got)
	}
}

// tokenServer is a registry that wants bearer tokens, which are good for one scope.
type tokenServer struct {
	exchanges atomic.Int32
	expires   int // seconds
	host      string
	deny      bool
}

func (s *tokenServer) start(tb testing.TB) {
	tb.Helper()
	server := httptest.NewServer(s)
	tb.Cleanup(server.Close)
	s.host = strings.TrimPrefix(server.URL, "http://")
}

func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/token" {
		n := s.exchanges.Add(1)
		user, password, ok := r.BasicAuth()
		if s.deny || ok && (user != registrytest.User || password != registrytest.Password) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, `{"token":"t%d.%s","expires_in":%d}`, n, r.URL.Query().Get("scope"), s.expires)
		return
	}
	scope := ""
	if strings.Contains(r.URL.Path, "/manifests/") {
		scope = "repository:me/app:pull"
	}
	if token := r.Header.Get("Authorization"); !strings.HasPrefix(token, "Bearer t") || !strings.HasSuffix(token, "."+scope) {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="x, y",scope="%s"`, s.host, scope))
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if scope != "" {
		w.WriteHeader(http.StatusNotFound)
	}
}

func TestTokens(t *testing.T) {
	ctx := t.Context()
	s := &tokenServer{expires: 300}
	s.start(t)
	c := newClient(t)
	ref := mustName(t, s.host+"/me/app:1")
	for range 3 {
		if _, err := c.Resolve(ctx, ref, amd64); !errors.Is(err, ErrNotFound) {
			t.Fatalf("error %v, want ErrNotFound with a token", err)
		}
	}
	if n := s.exchanges.Load(); n != 1 {
		t.Errorf("%d tokens were fetched for one scope", n)
	}
	if _, err := c.Login(ctx, s.host, registrytest.User, registrytest.Password); err != nil {
		t.Errorf("login: %v", err)
	}
	if _, err := c.Login(ctx, s.host, registrytest.User, "wrong"); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("login with a wrong password: %v", err)
	}
	s.deny = true
	if _, err := newClient(t).Resolve(ctx, ref, amd64); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("error %v, want ErrUnauthorized", err)
	}
}

// A credential helper that is missing is no obstacle to what everyone may have.
func TestHelperMissing(t *testing.T) {
	s := &tokenServer{expires: 300}
	s.start(t)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "config.json"), `{"credsStore":"absent"}`)
	ref := mustName(t, s.host+"/me/app:1")
	if _, err := newClientWith(t, Config{DockerConfig: dir}).Resolve(t.Context(), ref, amd64); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v, want ErrNotFound with a token for everyone", err)
	}
	s.deny = true
	_, err := newClientWith(t, Config{DockerConfig: dir}).Resolve(t.Context(), ref, amd64)
	if !errors.Is(err, ErrUnauthorized) || !strings.Contains(err.Error(), "docker-credential-absent") {
		t.Errorf("error %v, want ErrUnauthorized and the helper's name", err)
	}
}

// Blobs are often served from elsewhere, by a signed URL. Our login is no business of that host, even where it
// differs in the port only.
func TestRedirectKeepsLogin(t *testing.T) {
	data := noise(41, 1000)
	var leaked atomic.Value
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leaked.Store(fmt.Sprint(r.Header["Authorization"], r.Header["X-Secret"]))
		w.Write(data)
	}))
	defer elsewhere.Close()
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != registrytest.User || password != registrytest.Password {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.URL.Path != "/v2/" {
			http.Redirect(w, r, elsewhere.URL+"/blob?signature=hush", http.StatusTemporaryRedirect)
		}
	}))
	defer registry.Close()
	host := strings.TrimPrefix(registry.URL, "http://")
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, host, "hosts.toml"), "server = '"+registry.URL+"'\n[header]\nX-Secret = 'hush'\n")
	c := newClientWith(t, Config{CertsDir: []string{dir}})
	if _, err := c.Login(t.Context(), host, registrytest.User, registrytest.Password); err != nil {
		t.Fatal(err)
	}
	sink := newMemSink()
	if err := c.Fetch(t.Context(), mustName(t, host+"/me/app"), layerOf(data).Desc, sink, nil); err != nil {
		t.Fatal(err)
	}
	if got := leaked.Load(); got != "[] []" {
		t.Errorf("the other host was sent %s", got)
	}
	elsewhere.Close()
	err := c.Fetch(t.Context(), mustName(t, host+"/me/app"), layerOf(data).Desc, newMemSink(), nil)
	if err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("error %v, want one without the signature", err)
	}
}

// A login for a token server stays with its scheme, host and port.
func TestTokenServerRedirect(t *testing.T) {
	var asked atomic.Int32
	var leaked atomic.Value
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		leaked.Store(fmt.Sprint(r.Header["Authorization"]))
	}))
	defer other.Close()
	realm := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer realm.Close()
	client := &http.Client{Transport: &tokenTransport{inner: http.DefaultTransport}}

	req, _ := http.NewRequest(http.MethodGet, realm.URL, nil)
	req.SetBasicAuth("me", "hush")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := leaked.Load(); got != "[]" || asked.Load() != 1 {
		t.Errorf("the other port was asked %d times and sent %s", asked.Load(), got)
	}
	if _, err := client.PostForm(realm.URL, url.Values{"refresh_token": {"hush"}}); err == nil || !strings.Contains(err.Error(), "refusing the redirect") {
		t.Errorf("a form with a token: %v", err)
	}
	if asked.Load() != 1 {
		t.Error("the form was sent on")
	}
}

func TestParseChallenges(t *testing.T) {
	for in, want := range map[string]string{
		`Bearer realm="https://a/t",service="s, \"q\"",scope="repository:a:pull,push"`: `bearer map[realm:https://a/t scope:repository:a:pull,push service:s, "q"]`,
		`Basic realm="x", Bearer realm=https://a/t`:                                    `bearer map[realm:https://a/t]`,
		`basic REALM="x"`: `basic map[realm:x]`,
		`Negotiate`:       "none",
		`Bearer`:          "none",
		`Bearer realm="`:  "none",
		``:                "none",
		`="`:              "none",
	} {
		got := "none"
		if c := parseChallenges([]string{in}); c != nil {
			got = fmt.Sprint(c.Scheme, " ", c.Parameters)
		}
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s", in, got, want)
		}
	}
}

func FuzzParseChallenges(f *testing.F) {
	f.Add(`Bearer realm="https://a/t",service="s",scope="a,b", Basic realm=x`)
	f.Add(`Bearer realm="\`)
	f.Fuzz(func(t *testing.T, s string) {
		if c := parseChallenges([]string{s}); c != nil && c.Scheme == "bearer" && c.Parameters["realm"] == "" {
			t.Errorf("%q: bearer without realm", s)
		}
	})
}
