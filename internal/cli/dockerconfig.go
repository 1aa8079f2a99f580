package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/strata-build/strata/internal/human"
)

// dockerConfig is what commands read of docker's config.json beside credentials
// (docs.docker.com/reference/cli/docker/#docker-cli-configuration-file-configjson-properties).
type dockerConfig struct {
	// ImagesFormat and PsFormat are what images and ps take as --format where none is given.
	ImagesFormat string `json:"imagesFormat"`
	PsFormat     string `json:"psFormat"`
	// Proxies are given to builds and commands as variables. The key is a daemon's address, or default.
	Proxies map[string]struct {
		HTTPProxy  string `json:"httpProxy"`
		HTTPSProxy string `json:"httpsProxy"`
		FTPProxy   string `json:"ftpProxy"`
		NoProxy    string `json:"noProxy"`
		AllProxy   string `json:"allProxy"`
	} `json:"proxies"`
}

// readDockerConfig reads docker's config.json. One that is not there is empty; one that cannot be read is warned of.
func (a *app) readDockerConfig() dockerConfig {
	var c dockerConfig
	dir := os.Getenv("DOCKER_CONFIG")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return c
		}
		dir = filepath.Join(home, ".docker")
	}
	path := filepath.Join(dir, "config.json")
	data, err := os.ReadFile(path)
	if err != nil {
		return c
	}
	if err := json.Unmarshal(data, &c); err != nil {
		fmt.Fprintf(a.stderr, "WARNING: reading %s: %s\n", printable(path), printable(err.Error()))
	}
	return c
}

// addProxies adds the variables for proxies to build arguments, but for those that are given.
func (c *dockerConfig) addProxies(args map[string]string) {
	for name, value := range c.proxyVariables() {
		if _, given := args[name]; !given {
			args[name] = value
		}
	}
}

// proxyVariables are the variables for the proxies of config.json, in upper and lower case as docker gives them.
func (c *dockerConfig) proxyVariables() map[string]string {
	variables := map[string]string{}
	p := c.Proxies["default"]
	for name, value := range map[string]string{
		"HTTP_PROXY": p.HTTPProxy, "HTTPS_PROXY": p.HTTPSProxy, "FTP_PROXY": p.FTPProxy, "NO_PROXY": p.NoProxy, "ALL_PROXY": p.AllProxy,
	} {
		if value != "" {
			variables[name], variables[strings.ToLower(name)] = value, value
		}
	}
	return variables
}

// listByConfig prints rows in the format that config.json has for this kind of list, unless another is asked for.
func (a *app) listByConfig(l human.Listing, format, configured string, rows []human.Row) error {
	if format == "" {
		format = configured
	}
	return a.list(l, format, rows)
}
