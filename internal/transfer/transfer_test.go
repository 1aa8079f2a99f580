package transfer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer/registry"
	"github.com/strata-build/strata/internal/transfer/registry/registrytest"
)

var amd64 = ocispec.Platform{OS: "linux", Architecture: "amd64"}

func newMover(t *testing.T) *Mover {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("layers keep owners and devices, which only root can make")
	}
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return New(s, registry.New(registry.Config{}), amd64)
}

func named(t *testing.T, text string) reference.Named {
	t.Helper()
	ref, err := registry.ParseName(text)
	if err != nil {
		t.Fatal(err)
	}
	return reference.TagNameOnly(ref)
}

// member is one entry of a tar made for a test.
type member struct {
	name, body, link string
	kind             byte
	major, minor     int64
}

// tarOf writes a tar that is not the one that strata would write: its owners have names.
func tarOf(t *testing.T, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := &tar.Header{
			Name: m.name, Typeflag: m.kind, Linkname: m.link, Size: int64(len(m.body)), Mode: 0o755, Uname: "somebody",
			Devmajor: m.major, Devminor: m.minor, ModTime: time.Unix(1e9, 0),
		}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, m.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// built gives the store an image of two layers that were made here: of neither there is a compressed form.
func built(t *testing.T, m *Mover, name string) digest.Digest {
	t.Helper()
	ctx := context.Background()
	base := tarOf(t, member{name: "etc", kind: tar.TypeDir}, member{name: "etc/os", body: "debian"}, member{name: "etc/gone", body: "x"})
	top := tarOf(t, member{name: "app", kind: tar.TypeDir}, member{name: "app/main.py", body: strings.Repeat("print()\n", 9000)},
		member{name: "etc", kind: tar.TypeDir}, member{name: "etc/.wh.gone"})
	c := image.Scratch(m.Platform)
	for _, data := range [][]byte{base, top} {
		l, err := m.Store.UnpackNew(ctx, "", bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		at := time.Unix(1e9, 0)
		c = image.Add(c, c.Config, image.History{Created: &at, CreatedBy: "test"}, l.DiffID)
	}
	data, err := image.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	id, err := m.Store.PutConfig(data, "", store.Image)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Store.SetName(named(t, name), id, ""); err != nil {
		t.Fatal(err)
	}
	return id
}

func layersOf(t *testing.T, m *Mover, id digest.Digest) []*store.Layer {
	t.Helper()
	c, err := m.Store.Config(id)
	if err != nil {
		t.Fatal(err)
	}
	diffIDs, err := image.DiffIDs(c.Data)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := m.Store.Chain(diffIDs)
	if err != nil {
		t.Fatal(err)
	}
	return layers
}

// present says of each layer whether it is on this machine.
func present(t *testing.T, m *Mover, id digest.Digest) []bool {
	t.Helper()
	var here []bool
	for _, l := range layersOf(t, m, id) {
		here = append(here, l.Present())
	}
	return here
}

// tree is the merged tree of an image: the names of a tar, with the contents of files.
func tree(t *testing.T, m *Mover, id digest.Digest) map[string]string {
	t.Helper()
	c, err := m.Store.Config(id)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := m.Export(context.Background(), &b, c); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for r := tar.NewReader(&b); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = h.Linkname + string(body)
	}
}

var builtTree = map[string]string{
	"./": "", "app/": "", "app/main.py": strings.Repeat("print()\n", 9000), "etc/": "", "etc/os": "debian",
}

// statuses notes what becomes of layers.
func statuses(m *Mover) func() []string {
	seen := make(chan string, 1000)
	before := *m
	*m = *m.With(sinkFunc(func(e event.Event) {
		l, ok := e.(event.Layer)
		ofBytes := []string{registry.StatusPushing, "Compressing", "Downloading", "Extracting"} // as many as it takes
		if ok && !slices.Contains(ofBytes, l.Status) {
			seen <- l.Status
		}
	}))
	return func() []string {
		*m = before
		close(seen)
		var all []string
		for s := range seen {
			all = append(all, s)
		}
		slices.Sort(all)
		return all
	}
}

func TestPushPull(t *testing.T) {
	ctx := context.Background()
	addr := registrytest.Start(t)
	ours := newMover(t)
	name := addr + "/me/app:1"
	id := built(t, ours, name)
	pushed, err := ours.Push(ctx, named(t, name), nil)
	if err != nil {
		t.Fatal(err)
	}
	told := statuses(ours)
	again, err := ours.Push(ctx, named(t, name), nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"Layer already exists", "Layer already exists", "Waiting", "Waiting"}; !slices.Equal(told(), want) {
		t.Errorf("the second push did more than %q", want)
	}
	if again.Digest != pushed.Digest {
		t.Errorf("pushed twice: %s and %s", pushed.Digest, again.Digest)
	}

	theirs := newMover(t)
	for _, fresh := range []bool{true, false} {
		pulled, err := theirs.Pull(ctx, named(t, name), Wanted{Platform: amd64})
		if err != nil {
			t.Fatal(err)
		}
		if want := (Pulled{id, pushed.Digest, fresh}); *pulled != want {
			t.Errorf("pulled %+v, want %+v", *pulled, want)
		}
	}
	if diff := cmp.Diff(builtTree, tree(t, theirs, id)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	// The tar of a layer that came compressed is the one that was compressed.
	for _, l := range layersOf(t, theirs, id) {
		if err := l.WriteTar(ctx, io.Discard); err != nil {
			t.Error(err)
		}
	}
	byDigest, err := theirs.Store.Resolve(addr + "/me/app@" + pushed.Digest.String())
	if err != nil || byDigest != id {
		t.Errorf("its digest means %s, %v", byDigest, err)
	}
}

// A large layer is sent while it is compressed, and its blob stays here as that of any other.
func TestPushOfLargeLayer(t *testing.T) {
	ctx := t.Context()
	addr := registrytest.Start(t)
	var patched atomic.Int32
	forward := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: addr})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch {
			patched.Add(1)
		}
		forward.ServeHTTP(w, r)
	}))
	defer s.Close()
	ours := newMover(t)
	noise := make([]byte, aheadFrom+1000)
	rand.NewChaCha8([32]byte{1}).Read(noise)
	l, err := ours.Store.UnpackNew(ctx, "", bytes.NewReader(tarOf(t, member{name: "noise", body: string(noise)})))
	if err != nil {
		t.Fatal(err)
	}
	data, err := image.Encode(image.Add(image.Scratch(ours.Platform), image.Scratch(ours.Platform).Config, image.History{CreatedBy: "test"}, l.DiffID))
	if err != nil {
		t.Fatal(err)
	}
	id, err := ours.Store.PutConfig(data, "", store.Image)
	if err != nil {
		t.Fatal(err)
	}
	for i, status := range []string{registry.StatusPushed, registry.StatusExists} {
		name := strings.TrimPrefix(s.URL, "http://") + "/me/large:" + strconv.Itoa(i)
		if _, err := ours.Store.SetName(named(t, name), id, ""); err != nil {
			t.Fatal(err)
		}
		told := statuses(ours)
		if _, err := ours.Push(ctx, named(t, name), nil); err != nil {
			t.Fatal(err)
		}
		if got := told(); !slices.Contains(got, status) || patched.Load() != 1 {
			t.Errorf("push %d: %q with %d PATCH in all, want %q and 1", i, got, patched.Load(), status)
		}
	}
	blobs, err := ours.Store.Blobs(l.DiffID)
	if err != nil || len(blobs) == 0 || !ours.Store.HasBlob(blobs[0].Digest) {
		t.Errorf("the blob is not here: %v, %v", blobs, err)
	}
	theirs := newMover(t)
	if _, err := theirs.Pull(ctx, named(t, addr+"/me/large:1"), Wanted{Platform: amd64}); err != nil {
		t.Fatal(err)
	}
	if tree(t, theirs, id)["noise"] != string(noise) {
		t.Error("what was pulled is not what was pushed")
	}
}

// What a name means when a push ends is left alone where somebody set or removed it meanwhile.
func TestNameChangesDuringPush(t *testing.T) {
	ctx := context.Background()
	target, err := url.Parse("http://" + registrytest.Start(t))
	if err != nil {
		t.Fatal(err)
	}
	var meanwhile func()
	proxy := httputil.NewSingleHostReverseProxy(target)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
			meanwhile()
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	m := newMover(t)
	name := strings.TrimPrefix(server.URL, "http://") + "/me/app:1"
	ref := named(t, name)
	built(t, m, name)

	other, err := m.Store.PutConfig([]byte(`{"os":"linux","architecture":"amd64"}`), "", store.Image)
	if err != nil {
		t.Fatal(err)
	}
	meanwhile = func() {
		if _, err := m.Store.SetName(ref, other, ""); err != nil {
			t.Error(err)
		}
	}
	if _, err := m.Push(ctx, ref, nil); err != nil {
		t.Fatal(err)
	}
	if id, err := m.Store.Resolve(name); err != nil || id != other {
		t.Errorf("a name that was set during the push means %s, %v; want %s", id, err, other)
	}

	built(t, m, name)
	meanwhile = func() {
		if _, err := m.Store.RemoveName(ref); err != nil {
			t.Error(err)
		}
	}
	if _, err := m.Push(ctx, ref, nil); err != nil {
		t.Fatal(err)
	}
	if id, err := m.Store.Resolve(name); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a name that was removed during the push means %s, %v", id, err)
	}
}

// A base of which nothing is here goes with what is built on it: mounted within its registry, passed on to another
// one, and never unpacked.
func TestPushOfLayersElsewhere(t *testing.T) {
	ctx := context.Background()
	addr, other := registrytest.Start(t), registrytest.Start(t)
	ours := newMover(t)
	built(t, ours, addr+"/base:1")
	if _, err := ours.Push(ctx, named(t, addr+"/base:1"), nil); err != nil {
		t.Fatal(err)
	}

	m := newMover(t)
	base, err := m.Base(ctx, addr+"/base:1", Wanted{Platform: amd64})
	if err != nil {
		t.Fatal(err)
	}
	c, err := image.Parse(base.Data)
	if err != nil {
		t.Fatal(err)
	}
	l, err := m.Store.UnpackNew(ctx, "", bytes.NewReader(tarOf(t, member{name: "new", body: "new"})))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(2e9, 0)
	data, err := image.Encode(image.Add(c, c.Config, image.History{Created: &at}, l.DiffID))
	if err != nil {
		t.Fatal(err)
	}
	id, err := m.Store.PutConfig(data, base.ID, store.Image)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		want []string
	}{
		{addr + "/me/app:1", []string{"Mounted from base", "Mounted from base", "Preparing", "Pushed", "Waiting", "Waiting", "Waiting"}},
		{other + "/me/app:1", []string{"Pushed", "Pushed", "Pushed", "Waiting", "Waiting", "Waiting"}},
	} {
		if _, err := m.Store.SetName(named(t, test.name), id, ""); err != nil {
			t.Fatal(err)
		}
		told := statuses(m)
		if _, err := m.Push(ctx, named(t, test.name), nil); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, told()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		if got := present(t, m, id); !slices.Equal(got, []bool{false, false, true}) {
			t.Errorf("after the push to %s these layers are here: %v", test.name, got)
		}
		fresh := newMover(t)
		if _, err := fresh.Pull(ctx, named(t, test.name), Wanted{Platform: amd64}); err != nil {
			t.Fatal(err)
		}
		if got := tree(t, fresh, id)["new"]; got != "new" {
			t.Errorf("%s: the file has %q", test.name, got)
		}
	}
}

// What a registry had once it may have lost, and the store its compressed form with it.
func TestPushOfLostBlobs(t *testing.T) {
	ctx := context.Background()
	addr := registrytest.Start(t)
	m := newMover(t)
	name := named(t, addr+"/me/app:1")
	id := built(t, m, name.String())
	before, err := m.Push(ctx, name, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layersOf(t, m, id) {
		blobs, err := m.Store.Blobs(l.DiffID)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequest(http.MethodDelete, "http://"+addr+"/v2/me/app/blobs/"+blobs[0].Digest.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil || resp.StatusCode != http.StatusAccepted {
			t.Fatalf("deleting a blob: %v, %v", resp, err)
		}
		resp.Body.Close()
		if err := os.Remove(filepath.Join(m.Store.Root(), "blobs", "sha256", blobs[0].Digest.Encoded())); err != nil {
			t.Fatal(err)
		}
	}
	after, err := m.Push(ctx, name, nil)
	if err != nil {
		t.Fatal(err)
	}
	if *after != *before { // compressing gives the same bytes every time
		t.Errorf("pushed %+v, and before that %+v", after, before)
	}
	fresh := newMover(t)
	if _, err := fresh.Pull(ctx, name, Wanted{Platform: amd64}); err != nil {
		t.Error(err)
	}
}

// A blob that was damaged in the store after it was verified is found when a registry refuses it, and made or fetched
// again.
func TestPushOfBlobsDamagedSince(t *testing.T) {
	ctx := t.Context()
	m := newMover(t)
	name := named(t, registrytest.Start(t)+"/me/app:1")
	id := built(t, m, name.String())
	if _, err := m.Push(ctx, name, nil); err != nil {
		t.Fatal(err)
	}
	for _, l := range layersOf(t, m, id) {
		blobs, err := m.Store.Blobs(l.DiffID)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(m.Store.Root(), "blobs", "sha256", blobs[0].Digest.Encoded())
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/2] ^= 1
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	other := named(t, registrytest.Start(t)+"/me/app:1")
	if _, err := m.Store.SetName(other, id, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Push(ctx, other, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := newMover(t).Pull(ctx, other, Wanted{Platform: amd64}); err != nil {
		t.Error(err)
	}
}

func TestPushOfNothing(t *testing.T) {
	m := newMover(t)
	_, err := m.Push(context.Background(), named(t, "127.0.0.1:1/me/app:1"), nil)
	if err == nil || !strings.Contains(err.Error(), "no image here has the name 127.0.0.1:1/me/app:1") {
		t.Error(err)
	}
}

// altered serves what another registry has, with the first byte of every layer changed.
func altered(t *testing.T, addr string, config digest.Digest) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, err := http.NewRequest(r.Method, "http://"+addr+r.URL.Path, nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		req.Header["Accept"] = r.Header["Accept"]
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		data, _ := io.ReadAll(resp.Body)
		if strings.Contains(r.URL.Path, "/blobs/") && !strings.Contains(r.URL.Path, config.Encoded()) {
			data[0] ^= 1
		}
		w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
		w.WriteHeader(resp.StatusCode)
		w.Write(data)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// A pull that fails leaves no image and no name, and the next one succeeds.
func TestPullOfDamagedLayers(t *testing.T) {
	ctx := context.Background()
	addr := registrytest.Start(t)
	ours := newMover(t)
	id := built(t, ours, addr+"/me/app:1")
	if _, err := ours.Push(ctx, named(t, addr+"/me/app:1"), nil); err != nil {
		t.Fatal(err)
	}
	m := newMover(t)
	bad := altered(t, addr, id)
	_, err := m.Pull(ctx, named(t, bad+"/me/app:1"), Wanted{Platform: amd64})
	if err == nil || !strings.Contains(err.Error(), "digest") {
		t.Errorf("the error is %v", err)
	}
	images, err := m.Store.Configs(store.Image)
	if err != nil || len(images) != 0 {
		t.Errorf("%d images, %v", len(images), err)
	}
	names, err := m.Store.Names("")
	if err != nil || len(names) != 0 {
		t.Errorf("names %v, %v", names, err)
	}
	if _, err := m.Pull(ctx, named(t, addr+"/me/app:1"), Wanted{Platform: amd64}); err != nil {
		t.Error(err)
	}
	if got := present(t, m, id); !slices.Equal(got, []bool{true, true}) {
		t.Errorf("layers here: %v", got)
	}
}

func TestPullIsInterrupted(t *testing.T) {
	addr := registrytest.Start(t)
	ours := newMover(t)
	built(t, ours, addr+"/me/app:1")
	if _, err := ours.Push(context.Background(), named(t, addr+"/me/app:1"), nil); err != nil {
		t.Fatal(err)
	}
	m := newMover(t)
	ctx, cancel := context.WithCancel(context.Background())
	m = m.With(sinkFunc(func(e event.Event) {
		if l, ok := e.(event.Layer); ok && (l.Status == "Downloading" || l.Status == "Download complete") {
			cancel()
		}
	}))
	if _, err := m.Pull(ctx, named(t, addr+"/me/app:1"), Wanted{Platform: amd64}); err == nil || ctx.Err() == nil {
		t.Errorf("the pull went on: %v", err)
	}
	if names, err := m.Store.Names(""); err != nil || len(names) != 0 {
		t.Errorf("names %v, %v", names, err)
	}
}
