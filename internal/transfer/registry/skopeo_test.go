package registry

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/strata-build/strata/internal/transfer/registry/registrytest"
)

// What we push, others read; what others push in Docker's format, we read.
func TestSkopeo(t *testing.T) {
	if _, err := exec.LookPath("skopeo"); err != nil {
		t.Skip("skopeo is not installed (apt-get install skopeo)")
	}
	skopeo := func(args ...string) []byte {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "skopeo", append([]string{"--insecure-policy"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("skopeo %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return out
	}
	c := newClient(t)
	host := registrytest.Start(t)
	ref := mustName(t, host+"/me/app:test")
	blobs, manifest := testImage(t, amd64, gzipped(noise(60, 1000)), gzipped(noise(61, 5000)))
	if _, err := c.Push(t.Context(), ref, blobs, manifest, nil); err != nil {
		t.Fatal(err)
	}
	var seen struct {
		Digest string
		Layers []string
	}
	if err := json.Unmarshal(skopeo("inspect", "--tls-verify=false", "docker://"+ref.String()), &seen); err != nil {
		t.Fatal(err)
	}
	if seen.Digest != manifest.Digest.String() || len(seen.Layers) != 2 || seen.Layers[1] != blobs[1].Desc.Digest.String() {
		t.Errorf("skopeo sees %+v", seen)
	}

	skopeo("copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false", "--format", "v2s2",
		"docker://"+ref.String(), "docker://"+host+"/other:1")
	img, err := c.Resolve(t.Context(), mustName(t, host+"/other:1"), amd64)
	if err != nil {
		t.Fatal(err)
	}
	if img.Manifest.MediaType != DockerManifest || img.Layers[0].MediaType != "application/vnd.docker.image.rootfs.diff.tar.gzip" {
		t.Errorf("manifest %s, layer %s", img.Manifest.MediaType, img.Layers[0].MediaType)
	}
	for i, l := range img.Layers {
		if l.Digest != blobs[i].Desc.Digest {
			t.Errorf("layer %d is %s", i, l.Digest)
		}
		if err := c.Fetch(t.Context(), mustName(t, host+"/other:1"), l, newMemSink(), nil); err != nil {
			t.Error(err)
		}
	}
}

// gzipped keeps skopeo from compressing a layer itself.
func gzipped(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(data)
	w.Close()
	return b.Bytes()
}
