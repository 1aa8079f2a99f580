package registry

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

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
