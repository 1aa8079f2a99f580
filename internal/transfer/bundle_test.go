package transfer

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/transfer/archive"
)

// readLayoutJSON reads a blob of a layout as JSON.
func readLayoutJSON(t *testing.T, dir string, desc ocispec.Descriptor, to any) {
	t.Helper()
	r, err := archive.OpenBlob(dir, desc)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := json.NewDecoder(r).Decode(to); err != nil {
		t.Fatal(err)
	}
}

// A layout in a directory keeps what it has under other names, and has each form of an image that was asked for.
func TestSaveDirectory(t *testing.T) {
	ctx := context.Background()
	m := newMover(t)
	id := built(t, m, "app:1")
	dir := filepath.Join(t.TempDir(), "layout")
	oci := true
	save := func(name string, p Packing) *Sent {
		t.Helper()
		p.OCI = &oci
		b := Bundle{Items: []Item{{ID: id, Packing: p, Platform: m.Platform}}}
		sent, err := m.SaveDirectory(ctx, dir, b, []string{name})
		if err != nil {
			t.Fatal(err)
		}
		return sent
	}
	save("app:zstd", Packing{Compression: layer.Zstd})
	plain := save("app:plain", Packing{Compression: layer.None})
	noted := Packing{Compression: layer.Gzip, Annotations: map[string]string{"a": "b"}}
	first, again := save("app:zstd", noted), save("app:zstd", noted)
	if first.Descriptor.Digest != again.Descriptor.Digest {
		t.Error("the same image has another manifest the second time")
	}
	l, err := archive.OpenLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	index, err := l.Index()
	if err != nil || len(index.Manifests) != 2 {
		t.Fatalf("%+v, %v", index, err)
	}
	for _, desc := range index.Manifests {
		var got ocispec.Manifest
		readLayoutJSON(t, dir, desc, &got)
		kind := ocispec.MediaTypeImageLayerGzip
		if desc.Digest == plain.Descriptor.Digest {
			kind = ocispec.MediaTypeImageLayer
		} else if diff := cmp.Diff(noted.Annotations, got.Annotations); diff != "" {
			t.Error(diff)
		}
		for _, l := range got.Layers {
			if l.MediaType != kind {
				t.Errorf("%s: a layer of type %s, want %s", desc.Digest, l.MediaType, kind)
			}
		}
	}
	r, err := archive.Open(dir, t.TempDir(), layer.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	other := newMover(t)
	if _, err := other.Load(ctx, r); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tree(t, m, id), tree(t, other, id)); diff != "" {
		t.Errorf("files (-saved +loaded):\n%s", diff)
	}
	if err := os.WriteFile(filepath.Join(dir, ocispec.ImageIndexFile), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := m.SaveDirectory(ctx, dir, Bundle{Items: []Item{{ID: id}}}, nil); err == nil {
		t.Error("a damaged index.json is replaced")
	}
}

// What was made for one push is not what the next one gets that wants nothing particular, but what was packed to be kept is.
func TestPackedManifestsAreKept(t *testing.T) {
	ctx := context.Background()
	m := newMover(t)
	id := built(t, m, "app:1")
	bundle := func(p Packing) Bundle { return Bundle{Items: []Item{{ID: id, Packing: p, Platform: m.Platform}}} }
	note := Packing{Annotations: map[string]string{"a": "b"}}
	save := func(p Packing) string {
		t.Helper()
		var b bytes.Buffer
		sent, err := m.SaveBundle(ctx, &b, DockerArchive, bundle(p), nil)
		if err != nil {
			t.Fatal(err)
		}
		return sent.Descriptor.Digest.String()
	}
	noted := save(note)
	if plain := save(Packing{}); plain == noted {
		t.Error("annotations of one output are in the next")
	}
	for _, want := range []Packing{note, {Annotations: map[string]string{"c": "d"}}, {Compression: layer.Zstd}, note} {
		sent, err := m.PackBundle(ctx, bundle(want))
		if err != nil {
			t.Fatal(err)
		}
		if kept := save(Packing{}); kept != sent.Descriptor.Digest.String() {
			t.Errorf("%+v was packed last, and the image's manifest is another one", want)
		}
	}
}

// An eStargz layer is another one that holds the same files, and is made once.
func TestSeekable(t *testing.T) {
	ctx := context.Background()
	m := newMover(t)
	id := built(t, m, "app:1")
	c := configOf(t, m, id)
	made := 0
	m = m.With(sinkFunc(func(e event.Event) {
		if l, ok := e.(event.Layer); ok && l.Status == "Preparing" {
			made++
		}
	}))
	one, err := m.Seekable(ctx, c, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if one.RootFS.DiffIDs[0] != c.RootFS.DiffIDs[0] || one.RootFS.DiffIDs[1] == c.RootFS.DiffIDs[1] {
		t.Errorf("%v of %v", one.RootFS.DiffIDs, c.RootFS.DiffIDs)
	}
	again, err := m.Seekable(ctx, c, 1, nil)
	if err != nil || made != 1 {
		t.Fatalf("made %d times, %v", made, err)
	}
	if diff := cmp.Diff(one.RootFS, again.RootFS); diff != "" {
		t.Error(diff)
	}
	data, err := image.Encode(one)
	if err != nil {
		t.Fatal(err)
	}
	next, err := m.Store.PutConfig(data, "", "image")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tree(t, m, id), tree(t, m, next)); diff != "" {
		t.Errorf("files (-before +after):\n%s", diff)
	}
	p, err := m.newImagePush(nil, next, Packing{})
	if err != nil {
		t.Fatal(err)
	}
	parcel, err := p.plan(ctx)
	if err != nil {
		t.Fatal(err)
	}
	notes, err := p.annotations(parcel.blobs)
	if err != nil || len(notes) != 2 || notes[0] != nil || notes[1]["containerd.io/snapshot/stargz/toc.digest"] == "" {
		t.Errorf("%v, %v", notes, err)
	}
}

// sinkFunc is a function that listens.
type sinkFunc func(event.Event)

func (f sinkFunc) Send(e event.Event) { f(e) }
