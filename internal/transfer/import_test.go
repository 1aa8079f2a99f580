package transfer

import (
	"archive/tar"
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/image"
)

func configOf(t *testing.T, m *Mover, id digest.Digest) *image.Config {
	t.Helper()
	c, err := m.Store.Config(id)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := image.Parse(c.Data)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestImport(t *testing.T) {
	ctx := context.Background()
	m := newMover(t)
	root := tarOf(t,
		member{name: "./", kind: tar.TypeDir},
		member{name: "./bin/", kind: tar.TypeDir},
		member{name: "./bin/sh", body: "#!"},
		member{name: "./bin/ash", kind: tar.TypeLink, link: "./bin/sh"},
		member{name: "./lib", kind: tar.TypeSymlink, link: "/usr/lib"},
		member{name: "./dev/", kind: tar.TypeDir},
		member{name: "./dev/null", kind: tar.TypeChar, major: 1, minor: 3},
		member{name: "./run.fifo", kind: tar.TypeFifo},
	)
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(root)
	w.Close()

	plain, err := m.Import(ctx, bytes.NewReader(root), ImportOptions{Name: named(t, "base:1")})
	if err != nil {
		t.Fatal(err)
	}
	packed, err := m.Import(ctx, &z, ImportOptions{Message: "by hand", Config: image.Runtime{ImageConfig: ocispec.ImageConfig{Cmd: []string{"sh"}}}})
	if err != nil {
		t.Fatal(err)
	}
	a, b := configOf(t, m, plain), configOf(t, m, packed)
	if diff := cmp.Diff(a.RootFS, b.RootFS); diff != "" {
		t.Errorf("compressed it is another layer:\n%s", diff)
	}
	if a.Architecture != amd64.Architecture || a.OS != amd64.OS {
		t.Errorf("it is for %s/%s", a.OS, a.Architecture)
	}
	if len(a.History) != 1 || a.History[0].Comment != "Imported from -" || a.History[0].CreatedBy != "" || b.History[0].Comment != "by hand" {
		t.Errorf("history: %+v and %+v", a.History, b.History)
	}
	if diff := cmp.Diff([]string{"sh"}, b.Config.Cmd); diff != "" {
		t.Error(diff)
	}
	if id, err := m.Store.Resolve("base:1"); err != nil || id != plain {
		t.Errorf("the name means %s, %v", id, err)
	}
	want := map[string]string{
		"./": "", "bin/": "", "bin/ash": "#!", "bin/sh": "bin/ash", "lib": "/usr/lib", "dev/": "", "dev/null": "", "run.fifo": "",
	}
	if diff := cmp.Diff(want, tree(t, m, plain)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	// Its tar can be made again, for a push.
	for _, l := range layersOf(t, m, plain) {
		if err := l.WriteTar(ctx, &bytes.Buffer{}); err != nil {
			t.Error(err)
		}
	}
}

func TestImportOfNoTar(t *testing.T) {
	m := newMover(t)
	for name, test := range map[string]struct{ data, want string }{
		"empty":    {"", "it is empty"},
		"text":     {strings.Repeat("no tar\n", 200), "not a valid tar"},
		"cut":      {string(tarOf(t, member{name: "a", body: strings.Repeat("a", 4000)}))[:2000], "ends too early"},
		"outside":  {string(tarOf(t, member{name: "../a", body: "a"})), "../a"},
		"bad gzip": {"\x1f\x8b\x08garbage and more garbage", "gzip"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := m.Import(context.Background(), strings.NewReader(test.data), ImportOptions{Name: named(t, "bad")})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, and says nothing of %q", err, test.want)
			}
			if _, err := m.Store.Resolve("bad"); err == nil {
				t.Error("it got its name")
			}
		})
	}
}
