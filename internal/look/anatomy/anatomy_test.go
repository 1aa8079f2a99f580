package anatomy

import (
	"io"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/look/anatomy/anatomytest"
	"github.com/strata-build/strata/internal/look/timeline"
	"github.com/strata-build/strata/internal/transfer"
	"github.com/strata-build/strata/internal/transfer/registry/registrytest"
)

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
		anatomytest.Tar(t, "dir/", "dir/a=old", "dir/gone=x"),
		anatomytest.Tar(t, "dir/", "dir/a=changed", "dir/.wh.gone=", "file=new", "link->file"),
	}
}

func TestArchiveIsReadOnce(t *testing.T) {
	m := anatomytest.Mover(t)
	file := anatomytest.Save(t, anatomytest.Image(t, "me/app:1", theTars(t)...))
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
	m := anatomytest.Mover(t)
	tars := theTars(t)
	file := anatomytest.Save(t, anatomytest.Image(t, "me/app:1", tars...), anatomytest.Image(t, "me/base:2", tars[0]))
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
	m := anatomytest.Mover(t)
	tars := theTars(t)
	base, app := anatomytest.Image(t, "me/base:1", tars[0]), anatomytest.Image(t, "me/app:1", tars...)
	base = anatomytest.WithoutLastRow(t, base)
	anatomytest.Load(t, m, anatomytest.Save(t, base, app))
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

func TestRemoteMovesWhatIsLookedAt(t *testing.T) {
	addr := registrytest.Start(t)
	name := addr + "/me/app:1"
	there := anatomytest.Mover(t)
	anatomytest.Load(t, there, anatomytest.Save(t, anatomytest.Image(t, name, theTars(t)...)))
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := there.Push(t.Context(), ref.(reference.NamedTagged), nil); err != nil {
		t.Fatal(err)
	}
	m := anatomytest.Mover(t)
	im := open(t, m, name)
	if _, size := im.Blob(1); im.Known(0) || im.Known(1) || size <= 0 {
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
