package registry

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/strata-build/strata/internal/transfer/registry/registrytest"
)

func writeFile(tb testing.TB, name, text string) {
	tb.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}

func TestHostsFor(t *testing.T) {
	const mirrors = `
server = "https://up.test"
[host."https://b.test"]
  capabilities = ["pull", "resolve"]
  skip_verify = true
  [host."https://b.test".header]
    X-One = "1"
    X-Two = ["2", "3"]
[host."http://a.test:5000/path"]
  capabilities = ["pull"]
[host."https://c.test/exact"]
  override_path = true
[host."https://d.test/v2/proxy/v2"]
`
	for _, test := range []struct {
		name, domain, file, text string
		want                     []string // url, capabilities
	}{
		{"nothing", "reg.test", "", "", []string{"https://reg.test/v2 7"}},
		{"Docker Hub", "docker.io", "", "", []string{"https://registry-1.docker.io/v2 7"}},
		{"mirrors in the file's order", "docker.io", "docker.io", mirrors, []string{
			"https://b.test/v2 3", "http://a.test:5000/path/v2 1", "https://c.test/exact 7", "https://d.test/v2/proxy/v2 7", "https://up.test/v2 7"}},
		{"for all hosts", "reg.test:5000", "_default", `[host."https://m.test"]`, []string{"https://m.test/v2 7", "https://reg.test:5000/v2 7"}},
		{"with port", "reg.test:5000", "reg.test:5000", `server = "https://x.test"`, []string{"https://x.test/v2 7"}},
		{"with port, without colon", "reg.test:5000", "reg.test_5000_", `server = "https://x.test"`, []string{"https://x.test/v2 7"}},
		{"of another host", "reg.test", "reg.test:5000", `server = "https://x.test"`, []string{"https://reg.test/v2 7"}},
		{"what the registry itself may", "reg.test", "reg.test", `capabilities = ["push"]`, []string{"https://reg.test/v2 4"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if test.file != "" {
				writeFile(t, filepath.Join(dir, test.file, "hosts.toml"), test.text)
			}
			hosts, err := Config{CertsDir: []string{filepath.Join(dir, "absent"), dir}}.hostsFor(test.domain)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, h := range hosts {
				got = append(got, h.url.String()+" "+string('0'+rune(h.caps)))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if test.text == mirrors {
				if diff := cmp.Diff(http.Header{"X-One": {"1"}, "X-Two": {"2", "3"}}, hosts[0].header); diff != "" {
					t.Errorf("header (-want +got):\n%s", diff)
				}
				if !hosts[0].tls.InsecureSkipVerify || hosts[1].tls.InsecureSkipVerify || hosts[4].tls.InsecureSkipVerify {
					t.Error("skip_verify is for the first host only")
				}
				if !hosts[3].mirror || hosts[4].mirror {
					t.Error("all but the last are mirrors")
				}
			}
		})
	}
}

func TestHostsBad(t *testing.T) {
	for text, says := range map[string]string{
		`server = `: "toml",
		`[host."https://a.test"]` + "\n" + `capabilities = ["fly"]`: `unknown capability "fly"`,
		`[host."ftp://a.test"]`: "must be http://HOST or https://HOST",
		`ca = "absent.pem"`:     "absent.pem",
		`ca = "hosts.toml"`:     "no PEM certificate",
		`client = [1]`:          "client must be",
	} {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, "reg.test", "hosts.toml"), text)
		_, err := newClientWith(t, Config{CertsDir: []string{dir}}).Digest(t.Context(), mustName(t, "reg.test/a:1"))
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "hosts.toml") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestMirrors(t *testing.T) {
	ctx := t.Context()
	registry := registrytest.Start(t)
	blobs, manifest := testImage(t, amd64, noise(30, 1000))
	if _, err := newClient(t).Push(ctx, mustName(t, registry+"/library/base:1"), blobs, manifest, nil); err != nil {
		t.Fatal(err)
	}
	var namespace atomic.Value
	missing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		namespace.Store(r.URL.Query().Get("ns"))
		w.WriteHeader(http.StatusNotFound)
	}))
	defer missing.Close()
	wrong := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(noise(31, 1000)) }))
	defer wrong.Close()
	gone := httptest.NewServer(nil)
	gone.Close()

	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "docker.io", "hosts.toml"), `
server = "https://unused.invalid"
capabilities = ["push"]
[host."`+gone.URL+`"]
[host."`+missing.URL+`"]
[host."`+wrong.URL+`"]
capabilities = ["pull"]
[host."http://`+registry+`"]
`)
	c := newClientWith(t, Config{CertsDir: []string{dir}})
	ref := mustName(t, "base:1")
	img, err := c.Resolve(ctx, ref, amd64)
	if err != nil {
		t.Fatal(err)
	}
	if img.Manifest.Digest != manifest.Digest || img.Ref.String() != "docker.io/library/base:1" {
		t.Errorf("%s is %s", img.Ref, img.Manifest.Digest)
	}
	if got := namespace.Load(); got != "docker.io" {
		t.Errorf("the mirror was told the name space %q", got)
	}
	sink := newMemSink()
	if err := c.Fetch(ctx, ref, img.Layers[0], sink, nil); err != nil {
		t.Fatal(err)
	}
	if _, ok := sink.blobs[img.Layers[0].Digest]; !ok || sink.resets == 0 {
		t.Errorf("the layer came: %v, after %d mirrors with wrong bytes", ok, sink.resets)
	}
	_, err = c.Resolve(ctx, mustName(t, "nothing:1"), amd64)
	if !errors.Is(err, ErrNotFound) || !strings.HasPrefix(err.Error(), "nothing:1: no registry knows it") {
		t.Errorf("error %v", err)
	}
}

// A registry with TLS: unknown to us, vouched for by a certificate, or declared insecure.
func TestTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNotFound)
	}))
	s.Config.ErrorLog = discardLog()
	s.TLS = &tls.Config{}
	s.StartTLS()
	defer s.Close()
	port := s.URL[strings.LastIndexByte(s.URL, ':'):]
	cert := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))

	for _, test := range []struct {
		name string
		set  func(dir string) Config
		want error
		says string
	}{
		{"on this machine", func(string) Config { return Config{} }, ErrNotFound, ""},
		{"unknown authority", func(dir string) Config {
			writeFile(t, filepath.Join(dir, "127.0.0.1"+port, "hosts.toml"), `server = "`+s.URL+`"`)
			return Config{CertsDir: []string{dir}}
		}, ErrUnreachable, "ca.crt"},
		{"ca in hosts.toml", func(dir string) Config {
			writeFile(t, filepath.Join(dir, "127.0.0.1"+port, "hosts.toml"), `server = "`+s.URL+`"`+"\nca = 'my.pem'")
			writeFile(t, filepath.Join(dir, "127.0.0.1"+port, "my.pem"), cert)
			return Config{CertsDir: []string{dir}}
		}, ErrNotFound, ""},
		{"skip_verify", func(dir string) Config {
			writeFile(t, filepath.Join(dir, "127.0.0.1"+port, "hosts.toml"), `server = "`+s.URL+`"`+"\nskip_verify = true")
			return Config{CertsDir: []string{dir}}
		}, ErrNotFound, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := newClientWith(t, test.set(t.TempDir())).Digest(t.Context(), mustName(t, "127.0.0.1"+port+"/a:1"))
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want %v and %q", err, test.want, test.says)
			}
		})
	}
}

// Docker's form: certificates beside no hosts.toml.
func TestDockerCerts(t *testing.T) {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "reg.test", "ca.crt"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	hosts, err := Config{CertsDir: []string{dir}}.hostsFor("reg.test")
	if err != nil || hosts[0].tls.RootCAs == nil {
		t.Fatalf("no authorities: %v", err)
	}
	writeFile(t, filepath.Join(dir, "reg.test", "client.cert"), "x")
	if _, err := (Config{CertsDir: []string{dir}}).hostsFor("reg.test"); err == nil || !strings.Contains(err.Error(), "client.key") {
		t.Errorf("a certificate without key: %v", err)
	}
}

func TestInsecure(t *testing.T) {
	c := Config{Insecure: []string{"reg.test:5000", "all.test"}}
	for host, want := range map[string]bool{
		"localhost": true, "localhost:5000": true, "127.0.0.1:1": true, "127.8.9.1": true, "[::1]:5000": true,
		"reg.test:5000": true, "reg.test": false, "reg.test:5001": false, "all.test:77": true,
		"docker.io": false, "localhost.test": false, "10.0.0.1:5000": false,
	} {
		if got := c.insecure(host); got != want {
			t.Errorf("%s: %v, want %v", host, got, want)
		}
	}
}

// Hosts elsewhere get no plain HTTP, however they answer.
func TestSecureStaysSecure(t *testing.T) {
	hosts, err := Config{}.hostsFor("reg.test")
	if err != nil || hosts[0].maybePlain || hosts[0].url.Scheme != "https" {
		t.Errorf("%+v, %v", hosts, err)
	}
}
