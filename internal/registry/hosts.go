package registry

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
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

// tomlHost is a host in hosts.toml; the file's top level has the same keys for the registry itself.
type tomlHost struct {
	Capabilities []string       `toml:"capabilities"`
	CACert       any            `toml:"ca"`
	Client       any            `toml:"client"`
	SkipVerify   bool           `toml:"skip_verify"`
	Header       map[string]any `toml:"header"`
	OverridePath bool           `toml:"override_path"`
}

// tomlHosts is hosts.toml (containerd, docs/hosts.md).
type tomlHosts struct {
	tomlHost
	Server string              `toml:"server"`
	Host   map[string]tomlHost `toml:"host"`
}

// parseHosts reads a hosts.toml; dir is what its relative file names start from.
func parseHosts(data []byte, dir string, upstream hostConfig) ([]hostConfig, error) {
	var file tomlHosts
	if err := toml.Unmarshal(data, &file); err != nil {
		return nil, err
	}
	order, err := hostOrder(data)
	if err != nil {
		return nil, err
	}
	var hosts []hostConfig
	for _, name := range order {
		h, err := file.Host[name].config(name, dir, upstream)
		if err != nil {
			return nil, fmt.Errorf("host %q: %w", name, err)
		}
		h.mirror = true
		hosts = append(hosts, h)
	}
	server := file.Server
	if server == "" {
		server = upstream.url.Scheme + "://" + upstream.url.Host
	}
	h, err := file.config(server, dir, upstream)
	if err != nil {
		return nil, fmt.Errorf("server %q: %w", server, err)
	}
	h.maybePlain = upstream.maybePlain && file.Server == ""
	return append(hosts, h), nil
}

// hostOrder lists the [host."…"] tables in the file's order, which decides who is asked first.
func hostOrder(data []byte) ([]string, error) {
	var order []string
	var p unstable.Parser
	p.Reset(data)
	for p.NextExpression() {
		e := p.Expression()
		if e.Kind != unstable.Table {
			continue
		}
		key := e.Key()
		if !key.Next() || !bytes.Equal(key.Node().Data, []byte("host")) || !key.Next() {
			continue
		}
		if name := string(key.Node().Data); !slices.Contains(order, name) {
			order = append(order, name)
		}
	}
	return order, p.Error()
}

// config makes a host of its table.
func (t tomlHost) config(server, dir string, upstream hostConfig) (hostConfig, error) {
	h := hostConfig{caps: canAll, tls: upstream.tls.Clone()}
	if !strings.Contains(server, "://") {
		server = "https://" + server
	}
	u, err := url.Parse(server)
	if err != nil {
		return h, err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return h, errors.New("must be http://HOST or https://HOST")
	}
	p := strings.TrimSuffix(path.Clean("/"+u.Path), "/")
	if !t.OverridePath && !strings.HasSuffix(p, "/v2") {
		p += "/v2"
	}
	h.url = &url.URL{Scheme: u.Scheme, Host: u.Host, Path: p}
	if len(t.Capabilities) > 0 {
		if h.caps, err = parseCapabilities(t.Capabilities); err != nil {
			return h, err
		}
	}
	if h.header, err = parseHeader(t.Header); err != nil {
		return h, err
	}
	h.tls.InsecureSkipVerify = t.SkipVerify
	return h, t.loadCerts(dir, h.tls)
}

func parseCapabilities(words []string) (caps capability, err error) {
	for _, w := range words {
		switch strings.ToLower(w) {
		case "pull":
			caps |= canPull
		case "resolve":
			caps |= canResolve
		case "push":
			caps |= canPush
		default:
			return 0, fmt.Errorf("unknown capability %q: use pull, resolve or push", w)
		}
	}
	return caps, nil
}

func parseHeader(table map[string]any) (http.Header, error) {
	header := make(http.Header)
	for key, value := range table {
		values, err := stringList(value)
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", key, err)
		}
		for _, v := range values {
			header.Add(key, v)
		}
	}
	return header, nil
}

// stringList reads a string or a list of strings.
func stringList(value any) ([]string, error) {
	switch v := value.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		var list []string
		for _, x := range v {
			s, ok := x.(string)
			if !ok {
				return nil, errors.New("must be a string or a list of strings")
			}
			list = append(list, s)
		}
		return list, nil
	}
	return nil, errors.New("must be a string or a list of strings")
}

// loadCerts reads the authorities and client certificates that a host table names.
func (t tomlHost) loadCerts(dir string, config *tls.Config) error {
	authorities, err := stringList(t.CACert)
	if err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	for _, file := range authorities {
		if err := addAuthority(config, abs(dir, file)); err != nil {
			return err
		}
	}
	pairs, err := clientPairs(t.Client)
	if err != nil {
		return err
	}
	for _, pair := range pairs {
		if err := addClient(config, abs(dir, pair[0]), abs(dir, pair[1])); err != nil {
			return err
		}
	}
	return nil
}

// clientPairs reads `client`: a file with certificate and key, a list of such files, or a list of pairs.
func clientPairs(value any) (pairs [][2]string, err error) {
	bad := errors.New("client must be a file, a list of files, or a list of [certificate, key] pairs")
	if list, ok := value.([]any); ok {
		for _, x := range list {
			names, err := stringList(x)
			switch {
			case err == nil && len(names) == 1:
				pairs = append(pairs, [2]string{names[0], names[0]})
			case err == nil && len(names) == 2 && names[1] != "":
				pairs = append(pairs, [2]string{names[0], names[1]})
			case err == nil && len(names) == 2:
				pairs = append(pairs, [2]string{names[0], names[0]})
			default:
				return nil, bad
			}
		}
		return pairs, nil
	}
	names, err := stringList(value)
	if err != nil {
		return nil, bad
	}
	for _, n := range names {
		pairs = append(pairs, [2]string{n, n})
	}
	return pairs, nil
}

func abs(dir, file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(dir, file)
}

// dockerCerts adds what dockerd takes from certs.d/<host>: every *.crt is an authority, every *.cert a client
// certificate whose key has the same name and ends in .key.
func dockerCerts(dir string, config *tls.Config) (*tls.Config, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	config = config.Clone()
	for _, e := range entries {
		file := filepath.Join(dir, e.Name())
		switch filepath.Ext(file) {
		case ".crt":
			err = addAuthority(config, file)
		case ".cert":
			err = addClient(config, file, strings.TrimSuffix(file, ".cert")+".key")
		}
		if err != nil {
			return nil, err
		}
	}
	return config, nil
}

func addAuthority(config *tls.Config, file string) error {
	pem, err := readBounded(file)
	if err != nil {
		return err
	}
	if config.RootCAs == nil {
		if config.RootCAs, err = x509.SystemCertPool(); err != nil {
			config.RootCAs = x509.NewCertPool()
		}
	}
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s: no PEM certificate in it", file)
	}
	return nil
}

func addClient(config *tls.Config, certFile, keyFile string) error {
	certificate, err := readBounded(certFile)
	if err != nil {
		return err
	}
	key, err := readBounded(keyFile)
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return fmt.Errorf("%s: %w", certFile, err)
	}
	config.Certificates = append(config.Certificates, pair)
	return nil
}

func readBounded(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err == nil && len(data) > maxConfigFile {
		err = fmt.Errorf("%s: larger than %d bytes", file, maxConfigFile)
	}
	return data, err
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
