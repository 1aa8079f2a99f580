// Package anatomytest makes small images for the tests of what looks at them.
package anatomytest

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer"
	"github.com/strata-build/strata/internal/transfer/archive"
	"github.com/strata-build/strata/internal/transfer/registry"
)

var platform = ocispec.Platform{OS: "linux", Architecture: "amd64"}

// Mover returns a mover with a store of its own. Layers keep owners, which only root can make: others skip the test.
func Mover(t testing.TB) *transfer.Mover {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("layers keep owners, which only root can make")
	}
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return transfer.New(s, registry.New(registry.Config{}), platform)
}

// Tar makes a layer's tar: "name=contents", "name/" for a directory, "name->target" for a hard
// link, "name~>target" for a symbolic one.
func Tar(t testing.TB, members ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := &tar.Header{Name: m, Typeflag: tar.TypeDir, Mode: 0o755}
		contents := ""
		if name, target, ok := strings.Cut(m, "~>"); ok {
			h = &tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}
		} else if name, text, ok := strings.Cut(m, "="); ok {
			h, contents = &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(text))}, text
		} else if name, target, ok := strings.Cut(m, "->"); ok {
			h = &tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target}
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, contents)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Image makes an image of layers, with a row for each, "COPY layer0 /" and so on, and a configuration row on top.
func Image(t testing.TB, name string, tars ...[]byte) archive.Source {
	t.Helper()
	c := image.Scratch(platform)
	now := time.Unix(1_700_000_000, 0).UTC()
	src := archive.Source{Names: []string{name}}
	for i, data := range tars {
		d := digest.FromBytes(data)
		c = image.Add(c, c.Config, image.History{Created: &now, CreatedBy: fmt.Sprintf("COPY layer%d /", i)}, d)
		src.Layers = append(src.Layers, archive.LayerSource{DiffID: d, Size: int64(len(data)), Open: func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(data)), nil
		}})
	}
	run := c.Config
	run.Cmd = []string{"x"}
	c = image.Add(c, run, image.History{Created: &now, CreatedBy: `CMD ["x"]`}, "")
	src.Config = marshal(t, c)
	return src
}

// Empty makes an image without layers and rows: FROM scratch and nothing else.
func Empty(t testing.TB, name string) archive.Source {
	t.Helper()
	return archive.Source{Names: []string{name}, Config: marshal(t, image.Scratch(platform))}
}

// WithoutLastRow takes the configuration row off, so that the image ends where another goes on.
func WithoutLastRow(t testing.TB, src archive.Source) archive.Source {
	t.Helper()
	c, err := image.Parse(src.Config)
	if err != nil {
		t.Fatal(err)
	}
	c.History = c.History[:len(c.History)-1]
	src.Config = marshal(t, c)
	return src
}

func marshal(t testing.TB, c *image.Config) []byte {
	t.Helper()
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Save writes images into an archive, as docker save does, and returns its path.
func Save(t testing.TB, sources ...archive.Source) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "images.tar")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := archive.WriteDocker(f, sources); err != nil {
		t.Fatal(err)
	}
	return name
}

// Load takes an archive's images into the mover's store.
func Load(t testing.TB, m *transfer.Mover, file string) {
	t.Helper()
	r, err := archive.Open(file, t.TempDir(), layer.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := m.Load(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}
