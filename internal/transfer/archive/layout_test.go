package archive

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/transfer/registry"
)

func entry(d digest.Digest, annotations ...string) ocispec.Descriptor {
	e := ocispec.Descriptor{Digest: d, Annotations: map[string]string{}}
	for i := 0; i < len(annotations); i += 2 {
		e.Annotations[annotations[i]] = annotations[i+1]
	}
	return e
}

func TestFindTag(t *testing.T) {
	const ref = ocispec.AnnotationRefName
	a, b := digest.FromString("a"), digest.FromString("b")
	attested := entry(digest.FromString("c"), registry.ReferenceType, "attestation-manifest")
	for _, test := range []struct {
		name    string
		entries []ocispec.Descriptor
		tag     string
		want    digest.Digest
		err     string
	}{
		{name: "by tag", entries: []ocispec.Descriptor{entry(a, ref, "1"), entry(b, ref, "2")}, tag: "2", want: b},
		{name: "by name", entries: []ocispec.Descriptor{entry(a, ref, "x"), entry(b, containerdName, "x")}, tag: "x", want: b},
		{name: "the only one", entries: []ocispec.Descriptor{entry(a), attested}, tag: "latest", want: a},
		{name: "none", tag: "latest", err: "the 0 that are there have no names"},
		{name: "which", entries: []ocispec.Descriptor{entry(a, ref, "1"), entry(b, ref, "2")}, tag: "3", err: `no image is called "3"; there are 1, 2`},
	} {
		got, err := findTag(test.entries, test.tag)
		if got != test.want || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: %s, %v", test.name, got, err)
		}
	}
}

func TestLayoutImage(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "blobs/sha256"), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := OpenLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	layer := writeBlob(t, dir, []byte("layer"))
	config := writeBlob(t, dir, mustJSON(t, ocispec.Image{RootFS: ocispec.RootFS{DiffIDs: []digest.Digest{layer}}}))
	other := writeBlob(t, dir, mustJSON(t, ocispec.Image{}))
	manifest := func(config digest.Digest) digest.Digest {
		return writeBlob(t, dir, mustJSON(t, ocispec.Manifest{Config: ocispec.Descriptor{Digest: config}, Layers: []ocispec.Descriptor{{Digest: layer, Size: 5}}}))
	}
	index := func(d digest.Digest) digest.Digest {
		arm := ocispec.Descriptor{Digest: digest.FromString("not here"), MediaType: ocispec.MediaTypeImageManifest, Platform: &ocispec.Platform{OS: "linux", Architecture: "arm64"}}
		amd := ocispec.Descriptor{Digest: d, MediaType: ocispec.MediaTypeImageManifest, Platform: &ocispec.Platform{OS: "linux", Architecture: "amd64"}}
		return writeBlob(t, dir, mustJSON(t, ocispec.Index{Manifests: []ocispec.Descriptor{arm, amd}}))
	}
	deep := manifest(config)
	for range maxNesting + 1 {
		deep = index(deep)
	}
	here := ocispec.Platform{OS: "linux", Architecture: "amd64"}
	for _, d := range []digest.Digest{manifest(config), index(manifest(config))} {
		img, err := l.Image(d, here)
		if err != nil || img.Config.Digest != config || len(img.Layers) != 1 {
			t.Fatalf("%s: %+v, %v", d, img, err)
		}
		f, err := l.Open(img.Layers[0])
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	for _, test := range []struct {
		name string
		of   digest.Digest
		want error
	}{
		{"not there", digest.FromString("nowhere"), fs.ErrNotExist},
		{"no digest", "sha256:..", ErrFormat},
		{"not JSON", layer, ErrFormat},
		{"layers and config disagree", manifest(other), ErrFormat},
		{"both at once", writeBlob(t, dir, []byte(`{"manifests":[],"layers":[]}`)), ErrFormat},
		{"neither", writeBlob(t, dir, []byte(`{"schemaVersion":2}`)), ErrFormat},
		{"nested", deep, ErrFormat},
		{"another platform", index("sha256:x"), ErrFormat},
	} {
		if _, err := l.Image(test.of, here); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if _, err := l.Image(index(layer), ocispec.Platform{OS: "windows", Architecture: "amd64"}); !errors.Is(err, registry.ErrPlatform) {
		t.Errorf("no such platform: %v", err)
	}
	if _, err := l.Open(ocispec.Descriptor{Digest: layer, Size: 4}); !errors.Is(err, ErrFormat) {
		t.Errorf("another size: %v", err)
	}
	for _, test := range []struct {
		size, limit int64
		good        bool
	}{{5, 5, true}, {4, 5, false}, {6, 10, false}, {5, 4, false}} {
		data, err := l.Read(ocispec.Descriptor{Digest: layer, Size: test.size}, test.limit)
		if test.good != (string(data) == "layer") || test.good != (err == nil) || err != nil && !errors.Is(err, ErrFormat) {
			t.Errorf("%+v: %q, %v", test, data, err)
		}
	}
	changed := manifest(config)
	if err := os.WriteFile(filepath.Join(dir, "blobs/sha256", changed.Encoded()), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	var mismatch *registry.DigestError
	if _, err := l.Image(changed, here); !errors.As(err, &mismatch) {
		t.Errorf("a changed blob: %v", err)
	}
}

func TestLayoutLinksOut(t *testing.T) {
	dir := t.TempDir()
	d := digest.FromString("secret")
	if err := errors.Join(
		os.MkdirAll(filepath.Join(dir, "in/blobs/sha256"), 0o700),
		os.WriteFile(filepath.Join(dir, "secret"), []byte("secret"), 0o600),
		os.Symlink("../../../secret", filepath.Join(dir, "in/blobs/sha256", d.Encoded())),
	); err != nil {
		t.Fatal(err)
	}
	l, err := OpenLayout(filepath.Join(dir, "in"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if f, err := l.Open(ocispec.Descriptor{Digest: d, Size: 6}); err == nil {
		f.Close()
		t.Error("a link led out of the layout")
	}
}

// A layout in a directory names images by their tags, and by their full names, by which those of two repositories that
// have one tag are told apart.
func TestNamesInDirectory(t *testing.T) {
	dir := t.TempDir()
	images := twoImages(t)
	write := func(i int, name string) digest.Digest {
		t.Helper()
		img := images[i]
		img.Names = []string{name}
		if err := WriteDirectory(dir, []Source{img}, nil); err != nil {
			t.Fatal(err)
		}
		l, err := OpenLayout(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		d, err := l.Find("docker.io/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	write(0, "me/app:test")
	other, app := write(0, "me/other:test"), write(1, "me/app:test")
	l, err := OpenLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	index, err := l.Index()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range index.Manifests {
		got = append(got, m.Annotations[ocispec.AnnotationRefName], m.Annotations[containerdName], m.Digest.String())
	}
	want := []string{"test", "docker.io/me/app:test", app.String(), "test", "docker.io/me/other:test", other.String()}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("index.json (-want +got):\n%s", diff)
	}
}
