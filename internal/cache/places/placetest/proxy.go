package placetest

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
)

// Registry is a registry behind a proxy that can send other bytes than it has.
type Registry struct {
	Addr           string
	layers, others atomic.Bool
}

// StartProxy runs a proxy before the registry at addr.
func StartProxy(t *testing.T, addr string) *Registry {
	t.Helper()
	target := &url.URL{Scheme: "http", Host: addr}
	r := &Registry{}
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(req *httputil.ProxyRequest) {
			req.SetURL(target)
			req.Out.Host = req.In.Host // what the registry calls itself
		},
		ModifyResponse: r.damage,
	})
	t.Cleanup(proxy.Close)
	r.Addr = strings.TrimPrefix(proxy.URL, "http://")
	return r
}

// Repository is one for a test alone, of a registry that several tests use.
func Repository(t *testing.T) string {
	return "test-" + digest.FromString(t.Name()).Encoded()[:12]
}

// DamageLayers makes the registry change a byte of each compressed layer that it sends.
func (r *Registry) DamageLayers(*testing.T) { r.layers.Store(true) }

// DamageRecords makes the registry change a byte of each config that it sends.
func (r *Registry) DamageRecords(*testing.T) { r.others.Store(true) }

func (r *Registry) damage(resp *http.Response) error {
	if resp.Request.Method != http.MethodGet || !strings.Contains(resp.Request.URL.Path, "/blobs/sha256:") {
		return nil
	}
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	resp.Body = io.NopCloser(bytes.NewReader(data))
	if isLayer := bytes.HasPrefix(data, []byte{0x1f, 0x8b}); len(data) > 0 && (isLayer && r.layers.Load() || !isLayer && r.others.Load()) {
		data[len(data)/2] ^= 1
	}
	return nil
}
