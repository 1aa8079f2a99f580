package registry

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/docker/cli/cli/config"
	"github.com/docker/docker-credential-helpers/client"
	"github.com/docker/docker-credential-helpers/credentials"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/strata-build/strata/internal/store/disk"
)

// resource is a host whose credentials are wanted (authn.Resource).
type resource string

func (r resource) String() string      { return string(r) }
func (r resource) RegistryStr() string { return string(r) }

// credentialHost is the name under which credentials for a host are kept: Docker Hub's is index.docker.io.
func credentialHost(host string) string {
	switch host {
	case "", "docker.io", "registry-1.docker.io", "www.docker.io", "registry.hub.docker.com":
		return name.DefaultRegistry
	}
	return host
}

// credentialKey is that host's key in config.json and in credential helpers.
func credentialKey(host string) string {
	if host = credentialHost(host); host == name.DefaultRegistry {
		return authn.DefaultAuthKey
	}
	return host
}

// keychain returns the source of credentials.
func (c *Client) keychain() authn.Keychain {
	if c.config.DockerConfig == "" {
		if dir := callerConfig(); dir != "" {
			return authn.NewMultiKeychain(authn.DefaultKeychain, dirKeychain(dir))
		}
		return authn.DefaultKeychain
	}
	return dirKeychain(c.config.DockerConfig)
}

// callerConfig is the directory of the config.json of whoever called sudo, "" if nobody did: people log in as
// themselves, and push by sudo.
func callerConfig() string {
	name := os.Getenv("SUDO_USER")
	if os.Geteuid() != 0 || name == "" || os.Getenv("DOCKER_CONFIG") != "" {
		return "" // to look up nobody takes the C library a millisecond
	}
	caller, err := user.Lookup(name)
	if err != nil || caller.Uid == "0" {
		return ""
	}
	return filepath.Join(caller.HomeDir, ".docker")
}

// dirKeychain takes credentials from the config.json of one directory.
type dirKeychain string

// Resolve implements authn.Keychain.
func (dir dirKeychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	file, err := config.Load(string(dir))
	if err != nil {
		return nil, err
	}
	got, err := file.GetAuthConfig(credentialKey(target.RegistryStr()))
	if err != nil {
		return nil, err
	}
	return authn.FromConfig(authn.AuthConfig{
		Username:      got.Username,
		Password:      got.Password,
		Auth:          got.Auth,
		IdentityToken: got.IdentityToken,
		RegistryToken: got.RegistryToken,
	}), nil
}

// lookUp returns the credentials for a host; empty ones where there are none.
func lookUp(ctx context.Context, keychain authn.Keychain, host string) (*authn.AuthConfig, error) {
	auth, err := authn.Resolve(ctx, keychain, resource(credentialHost(host)))
	if err != nil {
		return nil, err
	}
	return authn.Authorization(ctx, auth)
}

// configDir is the directory of Docker's config.json.
func (c Config) configDir() (string, error) {
	if c.DockerConfig != "" {
		return c.DockerConfig, nil
	}
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		return dir, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("where to keep credentials: %w; set DOCKER_CONFIG", err)
	}
	return filepath.Join(home, ".docker"), nil
}

// configFile is Docker's config.json with everything in it kept, whoever wrote it.
type configFile struct {
	path string
	keys map[string]json.RawMessage
}

// openConfig reads config.json; one that is not there is empty.
func (c Config) openConfig() (*configFile, error) {
	dir, err := c.configDir()
	if err != nil {
		return nil, err
	}
	f := &configFile{path: filepath.Join(dir, "config.json"), keys: make(map[string]json.RawMessage)}
	if target, err := filepath.EvalSymlinks(f.path); err == nil {
		f.path = target // replace the file, not the link to it
	}
	data, err := os.ReadFile(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return f, nil
	case err != nil:
		return nil, err
	case len(bytes.TrimSpace(data)) == 0:
		return f, nil
	}
	if err := json.Unmarshal(data, &f.keys); err != nil || f.keys == nil {
		return nil, fmt.Errorf("%s is not a JSON object (%v): repair it or move it away", f.path, err)
	}
	return f, nil
}

// get decodes one key into v, which stays as it is where the key is absent.
func (f *configFile) get(key string, v any) error {
	raw, ok := f.keys[key]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%s: %q: %w", f.path, key, err)
	}
	return nil
}

// helper returns the credential helper that keeps the credentials of key, nil where the file itself does.
func (f *configFile) helper(key string) (client.ProgramFunc, error) {
	var helpers map[string]string
	var name string
	if err := errors.Join(f.get("credHelpers", &helpers), f.get("credsStore", &name)); err != nil {
		return nil, err
	}
	if h, ok := helpers[key]; ok {
		name = h
	}
	if name == "" {
		return nil, nil
	}
	if strings.ContainsRune(name, '/') {
		return nil, fmt.Errorf("%s: %q is no name of a credential helper", f.path, name)
	}
	return client.NewShellProgramFunc("docker-credential-" + name), nil
}

// store puts credentials where the configuration says, as `docker login` does.
func (f *configFile) store(key, user, password string) error {
	helper, err := f.helper(key)
	if err != nil {
		return err
	}
	entry := map[string]string{}
	if helper == nil {
		entry["auth"] = base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	} else if err := client.Store(helper, &credentials.Credentials{ServerURL: key, Username: user, Secret: password}); err != nil {
		return fmt.Errorf("storing the credentials for %s: %w", key, err)
	}
	return f.setAuth(key, entry)
}

// erase removes credentials from wherever store put them; ErrNotLoggedIn where there are none.
func (f *configFile) erase(key string) error {
	helper, err := f.helper(key)
	if err != nil {
		return err
	}
	var auths map[string]json.RawMessage
	if err := f.get("auths", &auths); err != nil {
		return err
	}
	_, known := auths[key]
	if helper != nil {
		_, err := client.Get(helper, key)
		switch {
		case err == nil:
			known = true
			if err := client.Erase(helper, key); err != nil {
				return fmt.Errorf("removing the credentials for %s: %w", key, err)
			}
		case !credentials.IsErrCredentialsNotFound(err):
			return fmt.Errorf("removing the credentials for %s: %w", key, err)
		}
	}
	if !known {
		return ErrNotLoggedIn
	}
	return f.setAuth(key, nil)
}

// setAuth writes or, with a nil entry, removes auths.<key> and saves the file.
func (f *configFile) setAuth(key string, entry map[string]string) error {
	auths := make(map[string]json.RawMessage)
	if err := f.get("auths", &auths); err != nil {
		return err
	}
	if auths == nil {
		auths = make(map[string]json.RawMessage)
	}
	delete(auths, key)
	if entry != nil {
		raw, err := json.Marshal(entry)
		if err != nil {
			return err
		}
		auths[key] = raw
	}
	raw, err := json.Marshal(auths)
	if err != nil {
		return err
	}
	f.keys["auths"] = raw
	return f.save()
}

// save replaces the file in one step; what is in it is for the owner only.
func (f *configFile) save() error {
	data, err := json.MarshalIndent(f.keys, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return err
	}
	return disk.Replace(f.path, 0o600, func(file *os.File) error {
		if _, err := file.Write(data); err != nil {
			return err
		}
		return file.Sync()
	})
}
