package registry

import (
	"crypto/tls"
	"net/url"
	"os"
	"path/filepath"
	"testing"
)

// FuzzParseHosts reads any text as a hosts.toml: every host that comes out of it has an address.
func FuzzParseHosts(f *testing.F) {
	f.Add("server = \"https://a\"\n[host.\"https://b\"]\n capabilities = [\"pull\"]\n[host.\"https://b\".header]\n x = [\"y\"]")
	f.Add("[host.\":\"]\n[host.x]\nca = 1")
	f.Add("server = \"::\"\nclient = [[\"a\", 1]]")
	upstream := hostConfig{url: &url.URL{Scheme: "https", Host: "example.org"}, tls: &tls.Config{}}
	f.Fuzz(func(t *testing.T, text string) {
		hosts, err := parseHosts([]byte(text), t.TempDir(), upstream)
		if err != nil {
			return
		}
		for _, h := range hosts {
			if h.url == nil || h.url.Host == "" {
				t.Errorf("%q: a host without an address: %+v", text, h)
			}
		}
	})
}

// FuzzConfigFile reads any text as Docker's config.json, and keeps what else is in it when a login is added.
func FuzzConfigFile(f *testing.F) {
	f.Add(`{"auths":{"a":{"auth":"eDp5"}},"credHelpers":{"b":"h"},"other":1}`)
	f.Add(`{"credsStore":"../x"}`)
	f.Add(`null`)
	f.Add(`{"auths":[]}`)
	f.Fuzz(func(t *testing.T, text string) {
		c := Config{DockerConfig: t.TempDir()}
		name := filepath.Join(c.DockerConfig, "config.json")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := c.openConfig()
		if err != nil {
			return
		}
		if _, err := file.helper("b"); err != nil {
			return
		}
		before := len(file.keys)
		if err := file.setAuth("a", map[string]string{"auth": "x"}); err != nil {
			return
		}
		again, err := c.openConfig()
		if err != nil || len(again.keys) < before {
			t.Errorf("%q became %v, %v", text, again, err)
		}
	})
}
