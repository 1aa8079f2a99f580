package registry

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// serve runs a registry that answers GET and HEAD by path.
func serve(tb testing.TB, answer http.HandlerFunc) (host string) {
	tb.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" {
			answer(w, r)
		}
	}))
	tb.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// Registries may refuse HEAD, or answer it without the digest.
func TestDigestWithoutHead(t *testing.T) {
	_, manifest := testImage(t, amd64, noise(50, 10))
	for _, status := range []int{http.StatusOK, http.StatusMethodNotAllowed} {
		host := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", manifest.MediaType+"; charset=utf-8")
			if r.Method == http.MethodHead {
				w.WriteHeader(status)
				return
			}
			w.Write(manifest.Data)
		})
		desc, err := newClient(t).Digest(t.Context(), mustName(t, host+"/a:1"))
		if err != nil || desc.Digest != manifest.Digest || desc.Size != int64(len(manifest.Data)) || desc.MediaType != manifest.MediaType {
			t.Errorf("HEAD %d: %+v, %v", status, desc, err)
		}
	}
}

// The config may stand in the manifest itself, and is taken from there only if it matches.
func TestEmbeddedConfig(t *testing.T) {
	config := []byte(`{"rootfs":{"diff_ids":[]}}`)
	for _, data := range [][]byte{config, []byte(strings.Repeat("x", len(config)))} {
		m := ocispec.Manifest{Config: ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config)), Data: data}}
		m.SchemaVersion = 2
		asked := 0
		host := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/blobs/") {
				asked++
				w.Write(config)
				return
			}
			w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
			w.Write(mustJSON(t, m))
		})
		img, err := newClient(t).Resolve(t.Context(), mustName(t, host+"/a:1"), amd64)
		if err != nil || string(img.Config.Data) != string(config) {
			t.Fatalf("%v", err)
		}
		if want := map[bool]int{true: 0, false: 1}[data[0] == '{']; asked != want {
			t.Errorf("the config was asked for %d times, want %d", asked, want)
		}
	}
}

// What is no image, such as a Helm chart, says so.
func TestNotAnImage(t *testing.T) {
	config := []byte(`{"name":"chart"}`)
	m := ocispec.Manifest{
		Config: ocispec.Descriptor{MediaType: "application/vnd.cncf.helm.config.v1+json", Digest: digest.FromBytes(config), Size: int64(len(config)), Data: config},
		Layers: []ocispec.Descriptor{layerOf(noise(51, 10)).Desc},
	}
	m.SchemaVersion = 2
	host := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		w.Write(mustJSON(t, m))
	})
	_, err := newClient(t).Resolve(t.Context(), mustName(t, host+"/a:1"), amd64)
	if err == nil || !strings.Contains(err.Error(), "not a container image") || !strings.Contains(err.Error(), "helm") {
		t.Errorf("error %v", err)
	}
}

// The config of a container image that cannot be read is called that.
func TestDamagedConfig(t *testing.T) {
	config := []byte(`{"created":"","rootfs":{"type":"layers","diff_ids":["sha256:1"]}}`)
	m := ocispec.Manifest{
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config)), Data: config},
		Layers: []ocispec.Descriptor{layerOf(noise(51, 10)).Desc},
	}
	m.SchemaVersion = 2
	host := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		w.Write(mustJSON(t, m))
	})
	_, err := newClient(t).Resolve(t.Context(), mustName(t, host+"/a:1"), amd64)
	if err == nil || !strings.Contains(err.Error(), "config "+m.Config.Digest.String()+" cannot be read: parsing time") {
		t.Errorf("error %v", err)
	}
}

// A registry that takes the connection and says nothing is given up.
func TestSilentRegistry(t *testing.T) {
	host := serve(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c := newClient(t)
	c.stall = 100 * time.Millisecond
	_, err := c.Resolve(t.Context(), mustName(t, host+"/a:1"), amd64)
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "stopped sending") {
		t.Errorf("error %v", err)
	}
}

// Servers that send another part of a blob than was asked for are not believed.
func TestWrongRange(t *testing.T) {
	data := noise(52, 1000)
	for _, contentRange := range []string{"", "bytes 0-999/1000", "bytes 400-899/1000"} {
		host := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Range", contentRange)
			w.WriteHeader(http.StatusPartialContent)
			w.Write(data[:500])
		})
		r, err := newClient(t).Open(t.Context(), mustName(t, host+"/a"), layerOf(data).Desc, 400)
		if err == nil {
			r.Close()
			t.Errorf("Content-Range %q was accepted", contentRange)
		}
	}
}

// A redirect from https to http would show the blob to everyone on the way.
func TestRedirectToPlain(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "x") }))
	defer plain.Close()
	s := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusTemporaryRedirect))
	defer s.Close()
	dir := t.TempDir()
	host := strings.TrimPrefix(s.URL, "https://")
	writeFile(t, dir+"/"+host+"/hosts.toml", "server = '"+s.URL+"'\nskip_verify = true")
	_, err := newClientWith(t, Config{CertsDir: []string{dir}}).Resolve(t.Context(), mustName(t, host+"/a:1"), amd64)
	if err == nil || !strings.Contains(err.Error(), "refusing the redirect") {
		t.Errorf("error %v", err)
	}
}
