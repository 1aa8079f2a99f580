package archive

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/layer"
)

// FuzzLayout reads a layout whose index.json, and the one blob that a good one names, come from outside. Whatever they
// say: no panic, no hanging, no file beside the layout.
func FuzzLayout(f *testing.F) {
	const manifest = `{"schemaVersion":2,"config":{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}`
	for _, seed := range [][2]string{
		{`{"manifests":[{"digest":"$","size":1,"annotations":{"org.opencontainers.image.ref.name":"a"}}]}`, manifest},
		{`{"manifests":[{"digest":"sha256:../../../secret","size":1}]}`, `{}`},
		{`{"manifests":null}`, ``},
		{`{"manifests":[{},{}]}`, `[]`},
		{`{"manifests":[{"digest":"$"}]}`, `{"manifests":[{"digest":"$","mediaType":"application/vnd.oci.image.index.v1+json"}]}`},
		{`{"manifests":[{"digest":"$"}]}`, `{"manifests":[],"layers":[{"digest":"sha256:/etc/passwd","size":-1}]}`},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]))
	}
	platform := ocispec.Platform{OS: "linux", Architecture: "amd64"}
	f.Fuzz(func(t *testing.T, index, blob []byte) {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, "blobs/sha256"), 0o700); err != nil {
			t.Fatal(err)
		}
		d := writeBlob(t, dir, blob)
		writeBlob(t, dir, []byte("{}"))
		index = bytes.ReplaceAll(index, []byte("$"), []byte(d))
		if err := os.WriteFile(filepath.Join(dir, "index.json"), index, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := OpenLayout(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		found, err := l.Find("a")
		if err != nil {
			return
		}
		img, err := l.Image(found, platform)
		if err != nil {
			return
		}
		for _, desc := range img.Layers {
			if r, err := l.Open(desc); err == nil {
				r.Close()
			}
		}
	})
}

// FuzzManifests reads an archive whose manifest.json, config and index.json come from outside. FuzzOpen has tars whose
// form is wrong already.
func FuzzManifests(f *testing.F) {
	f.Add([]byte(`[{"Config":"c.json","RepoTags":["a:1"],"Layers":["l.tar"]}]`), []byte(`{"rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]}}`), []byte(`{"manifests":[]}`))
	f.Add([]byte(`[{"Config":"../c.json","Layers":["/etc/passwd"]}]`), []byte(`{}`), []byte(``))
	f.Add([]byte(`[{"Config":"c.json","Layers":null},{}]`), []byte(`{"rootfs":{"diff_ids":null}}`), []byte(`{"manifests":[{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","mediaType":"application/vnd.oci.image.index.v1+json"}]}`))
	f.Fuzz(func(t *testing.T, manifest, config, index []byte) {
		members := []file{{name: "manifest.json", body: string(manifest)}, {name: "c.json", body: string(config)}, {name: "l.tar"}}
		if len(index) > 0 {
			members = append(members, file{name: "index.json", body: string(index)}, file{name: emptyBlob, body: "{}"})
		}
		read(t, tarOf(t, members...))
	})
}

// emptyBlob is the place of {} in a layout.
const emptyBlob = "blobs/sha256/44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"

// read opens an archive and reads every layer that it says it has.
func read(t *testing.T, data []byte) {
	r, err := OpenStream(bytes.NewReader(data), t.TempDir(), layer.Limits{})
	if err != nil {
		return
	}
	defer r.Close()
	for _, img := range r.Images() {
		for _, l := range img.Layers {
			f, err := l.Open()
			if err != nil {
				continue
			}
			io.Copy(io.Discard, io.LimitReader(f, 1<<20))
			f.Close()
		}
	}
}

// writeBlob puts a blob into a layout.
func writeBlob(t *testing.T, dir string, data []byte) digest.Digest {
	t.Helper()
	d := digest.FromBytes(data)
	if err := os.WriteFile(filepath.Join(dir, "blobs/sha256", d.Encoded()), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return d
}

func FuzzOpen(f *testing.F) {
	var docker, oci bytes.Buffer
	if err := errors.Join(WriteDocker(&docker, twoImages(f)), WriteOCI(&oci, twoImages(f))); err != nil {
		f.Fatal(err)
	}
	files, _ := oldDocker(f)
	f.Add(docker.Bytes())
	f.Add(oci.Bytes())
	f.Add(tarOf(f, files...))
	f.Add(zstded(oci.Bytes()))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := OpenStream(bytes.NewReader(data), t.TempDir(), layer.Limits{})
		if err != nil {
			return
		}
		defer r.Close()
		for _, img := range r.Images() {
			for _, l := range img.Layers {
				body, err := l.Open()
				if err != nil {
					continue
				}
				got, err := io.ReadAll(body)
				if err == nil && l.Desc.Digest != "" && digest.FromBytes(got) != l.Desc.Digest {
					t.Errorf("bytes that do not match %s passed", l.Desc.Digest)
				}
				body.Close()
			}
		}
	})
}
