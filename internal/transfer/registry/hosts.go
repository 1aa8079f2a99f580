package registry

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distribution/reference"
)

// capability is what a host may be asked for (containerd, docs/hosts.md).
type capability uint8

const (
	canPull    capability = 1 << iota // anything by digest
	canResolve                        // what a tag means
	canPush
	canAll = canPull | canResolve | canPush
)

// maxConfigFile bounds hosts.toml and certificates, in bytes.
const maxConfigFile = 1 << 20

// hostConfig is one host that serves a registry's names: a mirror, or the registry itself.
type hostConfig struct {
	url        *url.URL // scheme, host and the path that stands before /<repository>, usually /v2
	caps       capability
	header     http.Header
	tls        *tls.Config
	maybePlain bool // the scheme is to be found out; the TLS certificate does not matter
	mirror     bool
}

// hostsFor returns the hosts that serve the names of a domain, in the order to ask them.
func (c Config) hostsFor(domain string) ([]hostConfig, error) {
	upstream := hostConfig{
		url:        &url.URL{Scheme: "https", Host: upstreamHost(domain), Path: "/v2"},
		caps:       canAll,
		tls:        &tls.Config{MinVersion: tls.VersionTLS12},
		maybePlain: c.insecure(domain),
	}
	dir, err := c.certsDir(domain)
	if err != nil || dir == "" {
		return []hostConfig{upstream}, err
	}
	file := filepath.Join(dir, "hosts.toml")
	data, err := readBounded(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		upstream.tls, err = dockerCerts(dir, upstream.tls)
		return []hostConfig{upstream}, err
	case err != nil:
		return nil, err
	}
	hosts, err := parseHosts(data, dir, upstream)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return hosts, nil
}

// upstreamHost is the host that answers for a domain where nothing is configured.
func upstreamHost(domain string) string {
	if domain == "docker.io" {
		return "registry-1.docker.io"
	}
	return domain
}

// insecure tells whether a host may be plain HTTP.
func (c Config) insecure(host string) bool {
	return isLoopback(host) || slices.Contains(c.Insecure, host) || slices.Contains(c.Insecure, hostname(host))
}

func isLoopback(host string) bool {
	name := hostname(host)
	ip := net.ParseIP(name)
	return name == "localhost" || ip != nil && ip.IsLoopback()
}

// hostname takes the port off "host:port", and the brackets off an IPv6 address.
func hostname(host string) string { return (&url.URL{Host: host}).Hostname() }

// certsDir returns the directory that configures a host, "" where there is none. A host's own directory wins
// over _default, and "host_port_" stands for "host:port" where a colon is unwelcome (containerd).
func (c Config) certsDir(host string) (string, error) {
	names := []string{host}
	if h, port, ok := strings.Cut(host, ":"); ok && !strings.Contains(port, ":") {
		names = append([]string{h + "_" + port + "_"}, host)
	}
	for _, name := range append(names, "_default") {
		for _, root := range c.CertsDir {
			dir := filepath.Join(root, name)
			switch fi, err := os.Stat(dir); {
			case err == nil && fi.IsDir():
				return dir, nil
			case err != nil && !errors.Is(err, fs.ErrNotExist):
				return "", err
			}
		}
	}
	return "", nil
}

// endpointsFor returns the endpoints that serve ref and have the capability, mirrors that did not answer
// lately at the end.
func (c *Client) endpointsFor(ref reference.Named, need capability) ([]*endpoint, error) {
	all, err := c.endpointsOf(reference.Domain(ref))
	if err != nil {
		return nil, err
	}
	var able, down []*endpoint
	for _, e := range all {
		switch {
		case e.caps&need == 0:
		case e.mirror && e.down.Load():
			down = append(down, e)
		default:
			able = append(able, e)
		}
	}
	return append(able, down...), nil
}

// endpointsOf returns a domain's endpoints, the same ones each time so that they keep connections and tokens.
func (c *Client) endpointsOf(domain string) ([]*endpoint, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if found, ok := c.endpoints[domain]; ok {
		return found, nil
	}
	hosts, err := c.config.hostsFor(domain)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration of %s: %w", domain, err)
	}
	for _, h := range hosts {
		c.endpoints[domain] = append(c.endpoints[domain], c.newEndpoint(h, domain))
	}
	return c.endpoints[domain], nil
}
