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

	"github.com/strata-build/strata/internal/transfer/registry/registrytest"
)

// Registry is a registry that can be made to send other bytes than it has.
type Registry struct {
	Addr           string
	layers, others atomic.Bool
}

// StartRegistry runs docker-registry behind a proxy. The test is skipped where docker-registry is missing.
func StartRegistry(t *testing.T) *Registry {
	t.Helper()
	target := &url.URL{Scheme: "http", Host: registrytest.Start(t)}
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
