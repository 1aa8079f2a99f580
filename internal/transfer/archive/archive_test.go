package archive

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/strata-build/strata/internal/transfer/registry"

	"github.com/strata-build/strata/internal/layer"
)

// file is a member of a tar made for a test.
type file struct{ name, body, link string }

func tarOf(tb testing.TB, files ...file) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, Size: int64(len(f.body)), Mode: 0o644}
		if f.link != "" {
			h.Typeflag, h.Linkname = tar.TypeSymlink, f.link
		}
		if err := w.WriteHeader(h); err != nil {
			tb.Fatal(err)
		}
		if _, err := io.WriteString(w, f.body); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func opener(data []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}

// testSource is an image of these uncompressed layers.
func testSource(tb testing.TB, names []string, layers ...[]byte) Source {
	tb.Helper()
	config := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, RootFS: ocispec.RootFS{Type: "layers"}}
	src := Source{Names: names}
	for _, data := range layers {
		d := digest.FromBytes(data)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, d)
		src.Layers = append(src.Layers, LayerSource{DiffID: d, Size: int64(len(data)), Open: opener(data)})
	}
	src.Config = mustJSON(tb, config)
	return src
}

func mustJSON(tb testing.TB, v any) []byte {
	tb.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func twoImages(tb testing.TB) []Source {
	base, app := tarOf(tb, file{name: "etc/os", body: "debian"}), tarOf(tb, file{name: "app/main.py", body: strings.Repeat("print()\n", 5000)})
	return []Source{
		testSource(tb, []string{"base:1"}, base),
		testSource(tb, []string{"me/app:test", "localhost:5000/me/app"}, base, app),
	}
}

// compressed gives the same image with its layers compressed and a manifest of their blobs.
func compressed(tb testing.TB, src Source) Source {
	tb.Helper()
	for i := range src.Layers {
		l := &src.Layers[i]
		r, err := l.Open()
		if err != nil {
			tb.Fatal(err)
		}
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		io.Copy(w, r)
		w.Close()
		l.Desc = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.FromBytes(b.Bytes()), Size: int64(b.Len())}
		l.Open = opener(b.Bytes())
	}
	m, err := src.manifest()
	if err != nil {
		tb.Fatal(err)
	}
	src.Manifest = &m
	return src
}

// compare checks that what was read is what was written.
func compare(t *testing.T, r *Reader, want []Source, names [][]string) {
	t.Helper()
	images := r.Images()
	if len(images) != len(want) {
		t.Fatalf("%d images, want %d", len(images), len(want))
	}
	for i, img := range images {
		if diff := cmp.Diff(names[i], img.Names); diff != "" {
			t.Errorf("image %d: names (-want +got):\n%s", i, diff)
		}
		if string(img.Config) != string(want[i].Config) {
			t.Errorf("image %d: config\n%s, want\n%s", i, img.Config, want[i].Config)
		}
		for j, l := range img.Layers {
			if l.DiffID != want[i].Layers[j].DiffID {
				t.Errorf("image %d, layer %d: diffID %s", i, j, l.DiffID)
			}
			if got := uncompressed(t, l); digest.FromBytes(got) != l.DiffID {
				t.Errorf("image %d, layer %d: other bytes", i, j)
			}
		}
	}
}

func uncompressed(t *testing.T, l Layer) []byte {
	t.Helper()
	f, err := l.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := layer.Decompress(f, layer.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestRoundTrip(t *testing.T) {
	plain := twoImages(t)
	packed := []Source{compressed(t, plain[0]), compressed(t, plain[1])}
	short := [][]string{{"base:1"}, {"me/app:test", "localhost:5000/me/app:latest"}}
	long := [][]string{{"docker.io/library/base:1"}, {"docker.io/me/app:test", "localhost:5000/me/app:latest"}}
	for _, test := range []struct {
		name   string
		write  func(io.Writer, []Source) error
		images []Source
		names  [][]string
	}{
		{"docker", WriteDocker, plain, short},
		{"docker, compressed layers", WriteDocker, packed, short},
		{"oci", WriteOCI, plain, long},
		{"oci, compressed layers", WriteOCI, packed, long},
	} {
		t.Run(test.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := test.write(&b, test.images); err != nil {
				t.Fatal(err)
			}
			for _, way := range []struct {
				name string
				open func() (*Reader, error)
			}{
				{"file", func() (*Reader, error) { return Open(saved(t, b.Bytes()), t.TempDir(), layer.Limits{}) }},
				{"pipe", func() (*Reader, error) {
					return OpenStream(&onlyReader{bytes.NewReader(b.Bytes())}, t.TempDir(), layer.Limits{})
				}},
				{"gzip", func() (*Reader, error) { return Open(saved(t, gzipped(b.Bytes())), t.TempDir(), layer.Limits{}) }},
				{"zstd", func() (*Reader, error) {
					return OpenStream(bytes.NewReader(zstded(b.Bytes())), t.TempDir(), layer.Limits{})
				}},
				{"directory", func() (*Reader, error) { return Open(unpacked(t, b.Bytes()), "", layer.Limits{}) }},
			} {
				t.Run(way.name, func(t *testing.T) {
					r, err := way.open()
					if err != nil {
						t.Fatal(err)
					}
					defer r.Close()
					compare(t, r, test.images, test.names)
					for i, img := range r.Images() {
						if want := test.images[i].Manifest; want != nil && img.Manifest.Digest != want.Digest {
							t.Errorf("image %d: its manifest changed", i)
						}
					}
				})
			}
		})
	}
}

type onlyReader struct{ io.Reader }

func saved(tb testing.TB, data []byte) string {
	tb.Helper()
	name := filepath.Join(tb.TempDir(), "archive")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		tb.Fatal(err)
	}
	return name
}

func gzipped(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(data)
	w.Close()
	return b.Bytes()
}

func zstded(data []byte) []byte {
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b)
	if err != nil {
		panic(err)
	}
	w.Write(data)
	w.Close()
	return b.Bytes()
}

func unpacked(tb testing.TB, data []byte) string {
	tb.Helper()
	dir := tb.TempDir()
	for t := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := t.Next()
		if err == io.EOF {
			return dir
		}
		if err != nil {
			tb.Fatal(err)
		}
		name := filepath.Join(dir, h.Name)
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(name, 0o755)
		} else {
			body, _ := io.ReadAll(t)
			err = os.WriteFile(name, body, 0o644)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
}

func TestWriteIsReproducible(t *testing.T) {
	var a, b bytes.Buffer
	if err := errors.Join(WriteDocker(&a, twoImages(t)), WriteDocker(&b, twoImages(t))); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("the same images gave other bytes")
	}
}

func TestWriteWrongSize(t *testing.T) {
	for _, by := range []int64{-1, 1} {
		src := twoImages(t)[0]
		src.Layers[0].Size += by
		if err := WriteDocker(io.Discard, []Source{src}); err == nil || !strings.Contains(err.Error(), "bytes that it should have") {
			t.Errorf("size off by %d: %v", by, err)
		}
	}
	src := compressed(t, twoImages(t)[1])
	src.Layers[0] = twoImages(t)[1].Layers[0]
	if err := WriteOCI(io.Discard, []Source{src}); err == nil || !strings.Contains(err.Error(), "other blobs") {
		t.Errorf("a manifest of other layers: %v", err)
	}
}

// A docker-archive as Docker wrote it until version 24, the second image's base layer being a link.
func oldDocker(tb testing.TB) (files []file, want []Source) {
	want = twoImages(tb)
	base, app := want[1].Layers[0], want[1].Layers[1]
	read := func(l LayerSource) string {
		r, _ := l.Open()
		data, _ := io.ReadAll(r)
		return string(data)
	}
	var list []dockerImage
	for i, src := range want {
		config := digest.FromBytes(src.Config).Encoded() + ".json"
		files = append(files, file{name: config, body: string(src.Config)})
		entry := dockerImage{Config: config, RepoTags: src.Names}
		for j := range src.Layers {
			entry.Layers = append(entry.Layers, fmt.Sprintf("id%d%d/layer.tar", i, j))
		}
		list = append(list, entry)
	}
	files = append(files,
		file{name: "id00/layer.tar", body: read(base)},
		file{name: "id10/layer.tar", link: "../id00/layer.tar"},
		file{name: "id11/layer.tar", body: string(gzipped([]byte(read(app))))},
		file{name: "manifest.json", body: string(mustJSON(tb, list))})
	return files, want
}

func TestOldDocker(t *testing.T) {
	files, want := oldDocker(t)
	r, err := Open(saved(t, tarOf(t, files...)), "", layer.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	compare(t, r, want, [][]string{want[0].Names, want[1].Names})
	layers := r.Images()[1].Layers
	if layers[0].Desc.Digest != layers[0].DiffID || layers[1].Desc.Digest != "" {
		t.Errorf("digests %q and %q: only that of the plain tar is known", layers[0].Desc.Digest, layers[1].Desc.Digest)
	}
}

func TestHostile(t *testing.T) {
	var docker, oci bytes.Buffer
	if err := errors.Join(WriteDocker(&docker, twoImages(t)), WriteOCI(&oci, twoImages(t))); err != nil {
		t.Fatal(err)
	}
	manifest := func(config, layer string) file {
		return file{name: "manifest.json", body: string(mustJSON(t, []dockerImage{{Config: config, Layers: []string{layer}}}))}
	}
	hex := strings.Repeat("a", 64)
	oneLayer := file{name: "c.json", body: `{"rootfs":{"diff_ids":["sha256:` + hex + `"]}}`}
	index := func(digest string) file {
		return file{name: "index.json", body: `{"manifests":[{"digest":"` + digest + `","size":2}]}`}
	}
	for _, test := range []struct {
		name, says string
		data       []byte
	}{
		{"empty", "neither manifest.json", tarOf(t)},
		{"a file that is no tar", "", []byte(strings.Repeat("not a tar. ", 100))},
		{"truncated", "truncated", docker.Bytes()[:docker.Len()/2]},
		{"truncated gzip", "truncated", gzipped(docker.Bytes())[:300]},
		{"a name with ..", "leads out of the archive", tarOf(t, file{name: "../../etc/passwd", body: "x"})},
		{"an absolute name", "leads out of the archive", tarOf(t, file{name: "/etc/passwd", body: "x"})},
		{"a long name", "leads out of the archive", tarOf(t, file{name: strings.Repeat("x/", 5000) + "x"})},
		{"a link that leads out", "leads out of the archive", tarOf(t, file{name: "a/layer.tar", link: "../../etc/passwd"})},
		{"an absolute link", "outside of the archive", tarOf(t, file{name: "a/layer.tar", link: "/etc/passwd"})},
		{"links in a circle", "too many links", tarOf(t, oneLayer, file{name: "a", link: "b"}, file{name: "b", link: "a"}, manifest("c.json", "a"))},
		{"a config path that leads out", "leads out", tarOf(t, manifest("../../etc/passwd", "l"))},
		{"a layer path that leads out", "leads out", tarOf(t, oneLayer, manifest("c.json", "/etc/passwd"))},
		{"a config that is missing", "c.json is missing", tarOf(t, manifest("c.json", "l"))},
		{"a layer that is missing", "layer 1: l is missing", tarOf(t, oneLayer, manifest("c.json", "l"))},
		{"more layers than diffIDs", "describes 0 layers", tarOf(t, file{name: "c.json", body: "{}"}, manifest("c.json", "l"))},
		{"a config of another ID", "do not match", tarOf(t, file{name: hex + ".json", body: "{}"}, manifest(hex+".json", "l"))},
		{"no JSON", "reading manifest.json", tarOf(t, file{name: "manifest.json", body: "["})},
		{"a huge manifest", "more than the", tarOf(t, file{name: "manifest.json", body: strings.Repeat(" ", MaxManifest+1)})},
		{"a bad digest", `digest "sha256:../../x"`, tarOf(t, index("sha256:../../x"))},
		{"a manifest that is missing", "is missing", tarOf(t, index("sha256:"+hex))},
		{"a manifest of another digest", "do not match", tarOf(t, index("sha256:"+hex), file{name: "blobs/sha256/" + hex, body: "{}"})},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := OpenStream(bytes.NewReader(test.data), t.TempDir(), layer.Limits{})
			if err == nil {
				r.Close()
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %q, want one with %q", err, test.says)
			}
			var mismatch *registry.DigestError
			if !errors.Is(err, ErrFormat) && !errors.As(err, &mismatch) {
				t.Errorf("error %q is of no kind", err)
			}
		})
	}
}

func TestDeviceInArchive(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	w.WriteHeader(&tar.Header{Typeflag: tar.TypeChar, Name: "manifest.json"})
	w.Close()
	if _, err := OpenStream(&b, t.TempDir(), layer.Limits{}); !errors.Is(err, ErrFormat) {
		t.Errorf("error %v", err)
	}
}

// Layers are checked when they are read.
func TestDamagedLayer(t *testing.T) {
	for _, write := range []func(io.Writer, []Source) error{WriteDocker, WriteOCI} {
		src := twoImages(t)[1]
		src.Layers[1].Open = opener(bytes.Repeat([]byte{'x'}, int(src.Layers[1].Size)))
		var b bytes.Buffer
		if err := write(&b, []Source{src}); err != nil {
			t.Fatal(err)
		}
		r, err := OpenStream(&b, t.TempDir(), layer.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		f, err := r.Images()[0].Layers[1].Open()
		if err != nil {
			t.Fatal(err)
		}
		var mismatch *registry.DigestError
		if _, err := io.ReadAll(f); !errors.As(err, &mismatch) || mismatch.Want != src.Layers[1].DiffID {
			t.Errorf("error %v, want a DigestError", err)
		}
	}
}

// A layout in a directory may hold links, too.
func TestDirectoryLinksOut(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "index.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, "", layer.Limits{}); err == nil || !strings.Contains(err.Error(), "escapes") {
		t.Errorf("error %v", err)
	}
	if _, err := Open(filepath.Join(dir, "nothing"), "", layer.Limits{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func skopeo(t *testing.T, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath("skopeo"); err != nil {
		t.Skip("skopeo is not installed (apt-get install skopeo)")
	}
	out, err := exec.CommandContext(t.Context(), "skopeo", append([]string{"--insecure-policy", "--tmpdir", t.TempDir()}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("skopeo %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func TestSkopeo(t *testing.T) {
	images := twoImages(t)[1:]
	dir := t.TempDir()
	ours := filepath.Join(dir, "docker.tar")
	oursOCI := filepath.Join(dir, "oci.tar")
	for name, write := range map[string]func(io.Writer, []Source) error{ours: WriteDocker, oursOCI: WriteOCI} {
		var b bytes.Buffer
		if err := write(&b, images); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, ref := range []string{"docker-archive:" + ours, "oci-archive:" + oursOCI + ":test"} {
		config := skopeo(t, "inspect", "--config", "--raw", ref)
		if diff := cmp.Diff(string(images[0].Config), strings.TrimSpace(string(config))); diff != "" {
			t.Errorf("%s: config (-want +got):\n%s", ref, diff)
		}
	}
	for _, test := range []struct {
		from, to, path string
		names          []string
	}{
		{"docker-archive:" + ours, "docker-archive:" + filepath.Join(dir, "d1") + ":me/app:test", "d1", []string{"docker.io/me/app:test"}},
		{"docker-archive:" + ours, "oci-archive:" + filepath.Join(dir, "o1") + ":docker.io/me/app:test", "o1", []string{"docker.io/me/app:test"}},
		{"oci-archive:" + oursOCI + ":test", "oci:" + filepath.Join(dir, "o2"), "o2", nil},
		{"oci-archive:" + oursOCI + ":test", "docker-archive:" + filepath.Join(dir, "d2"), "d2", nil},
	} {
		skopeo(t, "copy", "-q", test.from, test.to)
		r, err := Open(filepath.Join(dir, test.path), t.TempDir(), layer.Limits{})
		if err != nil {
			t.Errorf("%s: %v", test.to, err)
			continue
		}
		if !strings.HasPrefix(test.to, "oci") { // skopeo writes the config of an OCI image anew
			compare(t, r, images, [][]string{test.names})
		} else if got := r.Images(); len(got) != 1 || len(got[0].Layers) != 2 || digest.FromBytes(uncompressed(t, got[0].Layers[1])) != images[0].Layers[1].DiffID {
			t.Errorf("%s: other images", test.to)
		} else if diff := cmp.Diff(test.names, got[0].Names); diff != "" {
			t.Errorf("%s: names (-want +got):\n%s", test.to, diff)
		}
		r.Close()
	}
}
