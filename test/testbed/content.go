package testbed

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/strata-build/strata/internal/layer"
)

// ImageContent reads an archive of strata save, which has one image: a line for each entry of each layer, without times.
func ImageContent(archive string) (string, error) {
	f, err := os.Open(archive)
	if err != nil {
		return "", err
	}
	defer f.Close()
	layers := map[string]string{}
	var manifest []struct{ Layers []string }
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", err
		}
		switch {
		case h.Name == "manifest.json":
			if err := json.NewDecoder(r).Decode(&manifest); err != nil {
				return "", err
			}
		case strings.HasSuffix(h.Name, ".tar") || strings.HasPrefix(h.Name, "blobs/"):
			layers[h.Name] = listing(r)
		}
	}
	if len(manifest) != 1 {
		return "", fmt.Errorf("%s: %d images in the manifest", archive, len(manifest))
	}
	var b strings.Builder
	for i, name := range manifest[0].Layers {
		fmt.Fprintf(&b, "layer %d\n%s", i, layers[name])
	}
	return b.String(), nil
}

// listing lists a tar, compressed or not; "" for what is none.
func listing(from io.Reader) string {
	plain, err := layer.Decompress(from, layer.Limits{})
	if err != nil {
		return ""
	}
	defer plain.Close()
	var b strings.Builder
	for r := tar.NewReader(plain); ; {
		h, err := r.Next()
		if err == io.EOF {
			return b.String()
		}
		if err != nil {
			return ""
		}
		sum := sha256.New()
		n, err := io.Copy(sum, r)
		fmt.Fprintf(&b, "%c %o %d:%d %s %s %d %x %v\n", h.Typeflag, h.Mode, h.Uid, h.Gid, h.Name, h.Linkname, n, sum.Sum(nil)[:8], err)
	}
}

// Difference is the first line in which two contents differ; "" if none does.
func Difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		a, b := "(end)", "(end)"
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			return fmt.Sprintf("line %d:\n  want %s\n  got  %s", i+1, a, b)
		}
	}
	return ""
}
