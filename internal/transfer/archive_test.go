package transfer

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer/archive"
	"github.com/strata-build/strata/internal/transfer/registry"
	"github.com/strata-build/strata/internal/transfer/registry/registrytest"

	"github.com/strata-build/strata/internal/layer"
)

func loadBytes(t *testing.T, m *Mover, data []byte) ([]Loaded, error) {
	t.Helper()
	r, err := archive.OpenStream(bytes.NewReader(data), t.TempDir(), layer.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return m.Load(context.Background(), r)
}

func namesOf(l Loaded) []string {
	var names []string
	for _, n := range l.Names {
		names = append(names, n.String())
	}
	return names
}

// An image that was built here, and one that was pulled, of which not all is here.
func TestSaveLoad(t *testing.T) {
	ctx := context.Background()
	addr := registrytest.Start(t)
	ours := newMover(t)
	id := built(t, ours, addr+"/me/app:1")
	save := func(m *Mover, format Format) []byte {
		var b bytes.Buffer
		if err := m.Save(ctx, &b, format, []Saved{{ID: id, Names: []string{"me/app:1", addr + "/me/app"}}}); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	archives := map[string][]byte{"built, docker": save(ours, DockerArchive), "built, oci": save(ours, OCIArchive)}
	pushed, err := ours.Push(ctx, named(t, addr+"/me/app:1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	archives["pushed, docker"] = save(ours, DockerArchive)
	remote := newMover(t)
	if _, err := remote.Base(ctx, addr+"/me/app:1", Wanted{Platform: amd64}); err != nil {
		t.Fatal(err)
	}
	archives["elsewhere, docker"] = save(remote, DockerArchive)
	if got := present(t, remote, id); !slices.Equal(got, []bool{false, false}) {
		t.Errorf("saving unpacked layers: %v", got)
	}
	archives["elsewhere, oci"] = save(remote, OCIArchive)

	for name, data := range archives {
		t.Run(name, func(t *testing.T) {
			m := newMover(t)
			for range 2 { // the second time it is there already
				loaded, err := loadBytes(t, m, data)
				if err != nil {
					t.Fatal(err)
				}
				if len(loaded) != 1 || loaded[0].ID != id {
					t.Fatalf("loaded %+v, want %s", loaded, id)
				}
				got := namesOf(loaded[0])
				if diff := cmp.Diff([]string{"docker.io/me/app:1", addr + "/me/app:latest"}, got); diff != "" {
					t.Error(diff)
				}
			}
			if diff := cmp.Diff(builtTree, tree(t, m, id)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			for _, l := range layersOf(t, m, id) {
				if err := l.WriteTar(ctx, io.Discard); err != nil {
					t.Error(err)
				}
			}
			if strings.HasSuffix(name, "docker") && !strings.HasPrefix(name, "built") {
				again, err := m.Push(ctx, named(t, addr+"/me/app"), nil)
				if err != nil {
					t.Fatal(err)
				}
				if again.Digest != pushed.Digest {
					t.Errorf("its manifest became %s, and was %s", again.Digest, pushed.Digest)
				}
			}
		})
	}
}

// source is an image as somebody else made it.
func source(t *testing.T, p ocispec.Platform, names []string, layers ...archive.LayerSource) archive.Source {
	t.Helper()
	c := ocispec.Image{Platform: p, RootFS: ocispec.RootFS{Type: "layers"}}
	for _, l := range layers {
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, l.DiffID)
	}
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return archive.Source{Names: names, Config: data, Layers: layers}
}

func layerSource(data []byte) archive.LayerSource {
	return archive.LayerSource{
		DiffID: digest.FromBytes(data), Size: int64(len(data)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
	}
}

// The tar of a layer that others made is kept to the byte, however it comes: what strata would write is another.
func TestLoadKeepsTars(t *testing.T) {
	ctx := context.Background()
	plain := tarOf(t, member{name: "./a", body: "a"}, member{name: "b/", kind: tar.TypeDir})
	sparse := sparseTar(t)
	zipped := layerSource(tarOf(t, member{name: "./z", body: "z"}))
	var z bytes.Buffer
	w, err := zstd.NewWriter(&z)
	if err != nil {
		t.Fatal(err)
	}
	r, _ := zipped.Open()
	io.Copy(w, r)
	w.Close()
	zipped.Desc = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerZstd, Digest: digest.FromBytes(z.Bytes()), Size: int64(z.Len())}
	zipped.Open = layerSource(z.Bytes()).Open

	var b bytes.Buffer
	if err := archive.WriteOCI(&b, []archive.Source{source(t, amd64, []string{"theirs:1"}, layerSource(plain), layerSource(sparse), zipped)}); err != nil {
		t.Fatal(err)
	}
	m := newMover(t)
	loaded, err := loadBytes(t, m, b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range layersOf(t, m, loaded[0].ID) {
		var got bytes.Buffer
		if err := l.WriteTar(ctx, &got); err != nil {
			t.Errorf("layer %d: %v", i, err)
		}
		if digest.FromBytes(got.Bytes()) != l.DiffID {
			t.Errorf("layer %d has other bytes", i)
		}
		size, err := l.TarSize(ctx)
		if err != nil || size != int64(got.Len()) {
			t.Errorf("layer %d: TarSize is %d, %v, and the tar has %d bytes", i, size, err, got.Len())
		}
	}
	files := tree(t, m, loaded[0].ID)
	if files["a"] != "a" || files["z"] != "z" || files["holes"] != strings.Repeat("\x00", 1<<20)+"end" {
		t.Errorf("the files are %d, with a of %q, z of %q and holes of %d bytes", len(files), files["a"], files["z"], len(files["holes"]))
	}
	// A layer in zstd makes the manifest OCI's.
	addr := registrytest.Start(t)
	if _, err := m.Store.SetName(named(t, addr+"/theirs:1"), loaded[0].ID, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Push(ctx, named(t, addr+"/theirs:1"), nil); err != nil {
		t.Fatal(err)
	}
	fresh := newMover(t)
	pulled, err := fresh.Pull(ctx, named(t, addr+"/theirs:1"), Wanted{Platform: amd64})
	if err != nil || pulled.ID != loaded[0].ID {
		t.Fatalf("pulled %+v, %v", pulled, err)
	}
	if diff := cmp.Diff(files, tree(t, fresh, pulled.ID)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// sparseTar has a file with a hole, in GNU's form, which Go's library reads but does not write.
func sparseTar(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "holes"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("end"), 1<<20); err != nil {
		t.Fatal(err)
	}
	f.Close()
	data, err := exec.Command("tar", "--create", "--sparse", "--format=gnu", "--directory", dir, "holes").Output()
	if err != nil {
		t.Fatalf("tar: %v", err)
	}
	if len(data) > 1<<19 {
		t.Skip("this file system keeps no holes")
	}
	return data
}

// The images of an archive for many platforms share their name, which without a platform means this machine's.
func TestLoadPlatforms(t *testing.T) {
	arm := ocispec.Platform{OS: "linux", Architecture: "arm64"}
	l := layerSource(tarOf(t, member{name: "a", body: "a"}))
	var b bytes.Buffer
	if err := archive.WriteOCI(&b, []archive.Source{
		source(t, amd64, []string{"app:1"}, l), source(t, arm, []string{"app:1"}, l), source(t, arm, []string{"arm:1"}, l),
	}); err != nil {
		t.Fatal(err)
	}
	m := newMover(t)
	loaded, err := loadBytes(t, m, b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, img := range loaded {
		for _, n := range namesOf(img) {
			got[n] = configOf(t, m, img.ID).Architecture
		}
	}
	if diff := cmp.Diff(map[string]string{"docker.io/library/app:1": "amd64", "docker.io/library/arm:1": "arm64"}, got); diff != "" {
		t.Error(diff)
	}
	members, err := m.Store.Members(named(t, "app:1"))
	if err != nil || len(members) != 2 || members[1].Platform.Architecture != "arm64" {
		t.Errorf("%v, %v", members, err)
	}
}

// What is wrong with one layer keeps the whole archive out.
func TestLoadOfDamagedLayers(t *testing.T) {
	good := tarOf(t, member{name: "a", body: "a"})
	outside := tarOf(t, member{name: "../a", body: "a"})
	text := []byte(strings.Repeat("no tar\n", 300))
	lying := layerSource(good)
	lying.DiffID = digest.FromString("other")
	for name, test := range map[string]struct {
		layer archive.LayerSource
		want  string
	}{
		"leads outside":  {layerSource(outside), "../a"},
		"no tar":         {layerSource(text), "not a valid tar"},
		"another digest": {lying, digest.FromBytes(good).String()},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			err := archive.WriteDocker(&b, []archive.Source{
				source(t, amd64, []string{"good:1"}, layerSource(good)), source(t, amd64, []string{"bad:1"}, layerSource(good), test.layer),
			})
			if err != nil {
				t.Fatal(err)
			}
			m := newMover(t)
			_, err = loadBytes(t, m, b.Bytes())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, and says nothing of %q", err, test.want)
			}
			images, err := m.Store.Configs(store.Image)
			names, err2 := m.Store.Names("")
			if err != nil || err2 != nil || len(images)+len(names) != 0 {
				t.Errorf("left: %d images, names %v, %v, %v", len(images), names, err, err2)
			}
		})
	}
}

// TestTellsWhatIsSaved: how far a layer or a file system is, up to all of it.
func TestTellsWhatIsSaved(t *testing.T) {
	m := newMover(t)
	id := built(t, m, "app:1")
	var told []event.Layer
	m = m.With(sinkFunc(func(e event.Event) {
		if l, ok := e.(event.Layer); ok {
			told = append(told, l)
		}
	}))
	if err := m.Save(t.Context(), io.Discard, DockerArchive, []Saved{{ID: id}}); err != nil {
		t.Fatal(err)
	}
	c, err := m.Store.Config(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Export(t.Context(), io.Discard, c); err != nil {
		t.Fatal(err)
	}
	last := map[string]event.Layer{}
	for _, l := range told {
		last[l.Status] = l
	}
	for _, status := range []string{"Saving layer", "Exporting"} {
		if l := last[status]; l.Total <= 0 || l.Current != l.Total {
			t.Errorf("%s ends with %d of %d bytes", status, l.Current, l.Total)
		}
	}
	for _, status := range []string{"Saved layer", "Exported"} {
		if last[status].ID == "" {
			t.Errorf("nobody is told: %s", status)
		}
	}
}

func TestExportOfSteps(t *testing.T) {
	m := newMover(t)
	id := built(t, m, "app:1")
	whole := configOf(t, m, id)
	first := image.Clone(whole)
	first.RootFS.DiffIDs, first.History = first.RootFS.DiffIDs[:1], first.History[:1]
	data, err := image.Encode(first)
	if err != nil {
		t.Fatal(err)
	}
	step, err := m.Store.PutConfig(data, "", store.Step)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"./": "", "etc/": "", "etc/gone": "x", "etc/os": "debian"}
	if diff := cmp.Diff(want, tree(t, m, step)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestNewManifest(t *testing.T) {
	blob := func(kind string) store.Blob {
		return store.Blob{Digest: digest.FromString(kind), Size: 1, MediaType: kind}
	}
	for _, test := range []struct {
		layers         []store.Blob
		manifest, kind string
	}{
		{nil, registry.DockerManifest, ""},
		{[]store.Blob{blob(ocispec.MediaTypeImageLayerGzip)}, registry.DockerManifest, dockerLayer},
		{[]store.Blob{blob(dockerLayer), blob(ocispec.MediaTypeImageLayerZstd)}, ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageLayerGzip},
	} {
		m, err := newManifest([]byte("{}"), test.layers, nil, Packing{})
		if err != nil {
			t.Fatal(err)
		}
		if m.MediaType != test.manifest || !strings.Contains(string(m.Data), fmt.Sprintf("%q", test.manifest)) {
			t.Errorf("%v: a manifest of type %s: %s", test.layers, m.MediaType, m.Data)
		}
		blobs := blobsOf(store.Manifest{MediaType: m.MediaType, Data: m.Data}, digest.FromString("{}"), len(test.layers))
		if len(blobs) != len(test.layers) || len(blobs) > 0 && blobs[0].MediaType != test.kind {
			t.Errorf("%v: layers %v", test.layers, blobs)
		}
	}
}
