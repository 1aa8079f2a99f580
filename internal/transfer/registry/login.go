package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
)

// Login checks a user and password with the registry and keeps them as `docker login` does: in config.json's
// auths, or with the credential helper that config.json names. Host "" is Docker Hub. It returns the line to
// print. A wrong password gives an error that wraps ErrUnauthorized, and nothing is kept then.
func (c *Client) Login(ctx context.Context, host, user, password string) (status string, err error) {
	host = loginHost(host)
	if user == "" || password == "" {
		return "", errors.New("login needs a user name and a password")
	}
	if err := c.checkLogin(ctx, host, user, password); err != nil {
		return "", loginError(host, err)
	}
	file, err := c.config.openConfig()
	if err != nil {
		return "", err
	}
	if err := file.store(credentialKey(host), user, password); err != nil {
		return "", err
	}
	c.mu.Lock()
	clear(c.endpoints) // they may have asked without a login
	c.mu.Unlock()
	return "Login Succeeded", nil
}

// Logout removes the credentials for a host; its error is ErrNotLoggedIn where there are none.
func (c *Client) Logout(host string) error {
	host = loginHost(host)
	file, err := c.config.openConfig()
	if err != nil {
		return err
	}
	if err := file.erase(credentialKey(host)); err != nil {
		return fmt.Errorf("%s: %w", host, err)
	}
	c.mu.Lock()
	clear(c.endpoints)
	c.mu.Unlock()
	return nil
}

// loginHost takes what people type for a registry: a host, a URL, or nothing for Docker Hub.
func loginHost(host string) string {
	host = strings.TrimPrefix(strings.TrimPrefix(host, "https://"), "http://")
	host, _, _ = strings.Cut(host, "/")
	if credentialHost(host) == credentialHost("docker.io") {
		return "docker.io"
	}
	return host
}

// checkLogin asks /v2/ of the registry itself, with the credentials and nothing from the keychain.
func (c *Client) checkLogin(ctx context.Context, host, user, password string) error {
	hosts, err := c.config.hostsFor(host)
	if err != nil {
		return err
	}
	e := c.newEndpoint(hosts[len(hosts)-1], host)
	defer e.http.CloseIdleConnections()
	e.auth.keychain = fixedKeychain{authn.AuthConfig{Username: user, Password: password}}
	resp, err := e.read(ctx, request{method: http.MethodGet, path: "/"}, http.StatusOK)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// fixedKeychain has one answer for every host.
type fixedKeychain struct{ login authn.AuthConfig }

// Resolve implements authn.Keychain.
func (k fixedKeychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(k.login), nil
}

func loginError(host string, err error) error {
	var resp *responseError
	var conn *connectError
	e := &nameError{cause: err}
	switch {
	case errors.As(err, &resp) && errors.Is(err, ErrUnauthorized):
		e.kind = ErrUnauthorized
		e.message = fmt.Sprintf("login to %s: wrong user name or password (%v)", host, err)
	case errors.As(err, &resp) && resp.status == http.StatusNotFound:
		e.message = fmt.Sprintf("login to %s: it is no registry (%v)", host, err)
	case errors.As(err, &conn):
		e.kind = ErrUnreachable
		e.message = fmt.Sprintf("login to %s: not reachable: %s", host, connectAdvice(conn))
	default:
		return fmt.Errorf("login to %s: %w", host, err)
	}
	return e
}
