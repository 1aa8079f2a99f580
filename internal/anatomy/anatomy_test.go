package anatomy

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

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/archive"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/registry"
	"github.com/strata-build/strata/internal/registry/registrytest"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/timeline"
	"github.com/strata-build/strata/internal/transfer"
)

var platform = ocispec.Platform{OS: "linux", Architecture: "amd64"}

func newMover(t *testing.T) *transfer.Mover {
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
	m := &transfer.Mover{Store: s, Registry: registry.New(registry.Config{}), Platform: platform}
	s.Fetcher = m
	return m
}

// tarOf makes a layer's tar: "name=contents", "name/" for a directory, "name->target" for a hard link.
func tarOf(t *testing.T, members ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := &tar.Header{Name: m, Typeflag: tar.TypeDir, Mode: 0o755}
		contents := ""
		if name, text, ok := strings.Cut(m, "="); ok {
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

// imageOf makes an image of layers, with a row for each and a configuration row on top.
func imageOf(t *testing.T, name string, tars ...[]byte) archive.Source {
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
	c = image.Add(c, c.Config, image.History{Created: &now, CreatedBy: `CMD ["x"]`}, "")
	config, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	src.Config = config
	return src
}

func saved(t *testing.T, sources ...archive.Source) string {
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

func load(t *testing.T, m *transfer.Mover, file string) {
	t.Helper()
	r, err := archive.Open(file, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := m.Load(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, m *transfer.Mover, text string) *Image {
	t.Helper()
	im, err := Open(t.Context(), m, text)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { im.Close() })
	return im
}

func contents(t *testing.T, im *Image, layer int, path string) string {
	t.Helper()
	r, err := im.Open(t.Context(), layer, path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// check holds the two-layer image of these tests against what is known of it.
func check(t *testing.T, im *Image) {
	t.Helper()
	if im.Layers() != 2 || len(im.Rows) != 3 || im.Rows[1].Layer != 1 || im.Rows[2].Layer != -1 {
		t.Fatalf("%d layers, rows %+v", im.Layers(), im.Rows)
	}
	tl, err := im.Timeline(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s := tl.Stats(1); s.Added != 2 || s.Changed != 1 || s.Removed != 1 {
		t.Errorf("second layer: %+v", s)
	}
	if e, ok := tl.At(tl.Find("dir/gone"), 1); !ok || e.Kind != timeline.Removed {
		t.Errorf("dir/gone: %+v", e)
	}
	if got := contents(t, im, 1, "dir/a") + contents(t, im, 1, "link") + contents(t, im, 0, "dir/a"); got != "changednewold" {
		t.Errorf("contents: %q", got)
	}
	if _, err := im.Open(t.Context(), 1, "dir/gone"); err == nil {
		t.Error("a whiteout was opened")
	}
}

func theTars(t *testing.T) [][]byte {
	return [][]byte{
		tarOf(t, "dir/", "dir/a=old", "dir/gone=x"),
		tarOf(t, "dir/", "dir/a=changed", "dir/.wh.gone=", "file=new", "link->file"),
	}
}

func TestArchiveIsReadOnce(t *testing.T) {
	m := newMover(t)
	file := saved(t, imageOf(t, "me/app:1", theTars(t)...))
	im := open(t, m, "docker-archive:"+file)
	if im.Known(0) {
		t.Error("nothing of the archive was read, and its table of contents is known")
	}
	check(t, im)
	again := open(t, m, file)
	if !again.Known(0) || !again.Known(1) {
		t.Error("the tables of contents were not kept")
	}
	check(t, again)
	if n, _ := m.Store.Names(""); len(n) != 0 {
		t.Errorf("looking at an archive gave names: %v", n)
	}
}

func TestArchiveOfSeveral(t *testing.T) {
	m := newMover(t)
	tars := theTars(t)
	file := saved(t, imageOf(t, "me/app:1", tars...), imageOf(t, "me/base:2", tars[0]))
	if _, err := Open(t.Context(), m, file); err == nil || !strings.Contains(err.Error(), "me/app:1, me/base:2") {
		t.Errorf("two images, none named: %v", err)
	}
	check(t, open(t, m, file+":me/app:1"))
	if im := open(t, m, "docker-archive:"+file+":2"); im.Layers() != 1 {
		t.Errorf("%d layers by the tag", im.Layers())
	}
	if _, err := Open(t.Context(), m, file+":other"); err == nil || !strings.Contains(err.Error(), "no image other") {
		t.Errorf("a name that it has not: %v", err)
	}
}

func TestStore(t *testing.T) {
	m := newMover(t)
	tars := theTars(t)
	base, app := imageOf(t, "me/base:1", tars[0]), imageOf(t, "me/app:1", tars...)
	base.Config = withoutLastRow(t, base.Config)
	load(t, m, saved(t, base, app))
	im := open(t, m, "me/app:1")
	check(t, im)
	if row := im.BaseRow(); row != 0 || im.Rows[0].Base[0] != "me/base:1" {
		t.Errorf("base row %d", row)
	}
	for _, text := range []string{im.Rows[1].ID.Encoded()[:12], digest.FromBytes(tars[1]).Encoded()[:12], string(im.Rows[1].ID)} {
		if row := open(t, m, text); row.Layers() != 2 || len(row.Rows) != 2 {
			t.Errorf("%s: %d layers, %d rows", text, row.Layers(), len(row.Rows))
		}
	}
	if _, err := Open(t.Context(), m, "0123456789ab"); err == nil {
		t.Error("an ID of nothing was found")
	}
}

// withoutLastRow takes the configuration row off, so that the image ends where another goes on.
func withoutLastRow(t *testing.T, config []byte) []byte {
	t.Helper()
	c, err := image.Parse(config)
	if err != nil {
		t.Fatal(err)
	}
	c.History = c.History[:len(c.History)-1]
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestRemoteMovesWhatIsLookedAt(t *testing.T) {
	addr := registrytest.Start(t)
	name := addr + "/me/app:1"
	there := newMover(t)
	load(t, there, saved(t, imageOf(t, name, theTars(t)...)))
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := there.Push(t.Context(), ref.(reference.NamedTagged), nil); err != nil {
		t.Fatal(err)
	}
	m := newMover(t)
	im := open(t, m, name)
	if im.Known(0) || im.Known(1) || im.BlobSize(1) <= 0 {
		t.Error("a layer was moved though nobody looked")
	}
	if err := im.Look(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if im.Known(0) || !im.Known(1) {
		t.Error("not the layer that was looked at")
	}
	check(t, im)
	if l, err := m.Store.Layer(im.Config.RootFS.DiffIDs[0]); err != nil || l.Present() {
		t.Errorf("the layer was laid out: %v", err)
	}
	if n, _ := m.Store.Names(""); len(n) != 0 {
		t.Errorf("looking gave names: %v", n)
	}
}

func TestContentsAreChecked(t *testing.T) {
	e := &layer.Entry{Path: "x", Digest: digest.FromString("right")}
	_, err := io.ReadAll(verified(io.NopCloser(strings.NewReader("wrong")), e))
	if err == nil || !strings.Contains(err.Error(), "/x") {
		t.Errorf("wrong contents: %v", err)
	}
	if _, err := io.ReadAll(verified(io.NopCloser(strings.NewReader("right")), e)); err != nil {
		t.Error(err)
	}
}
