package store

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/store/db"
	"github.com/strata-build/strata/internal/store/db/dbtest"
)

// addFor puts an image for a platform into the store.
func addFor(t *testing.T, s *Store, arch, mark string, chain ...digest.Digest) digest.Digest {
	t.Helper()
	p, err := platform.Parse("linux/"+arch, ocispec.Platform{})
	if err != nil {
		t.Fatal(err)
	}
	c := image.Scratch(p)
	c.Config.Env = []string{"MARK=" + mark}
	c.RootFS.DiffIDs = chain
	data, err := image.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	id, err := s.PutConfig(data, "", Image)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// members are what a name means: "arch mark" of each, the first first.
func members(t *testing.T, s *Store, name string) []string {
	t.Helper()
	all, err := s.Members(named(t, name))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range all {
		c, err := s.Config(m.ID)
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.Parse(c.Data)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, config.Architecture+" "+strings.TrimPrefix(config.Config.Env[0], "MARK="))
	}
	return got
}

func TestMembers(t *testing.T) {
	s := open(t, t.TempDir())
	ref := named(t, "base:1")
	amd, arm, arm2, riscv := addFor(t, s, "amd64", "a"), addFor(t, s, "arm64", "a"), addFor(t, s, "arm64", "b"), addFor(t, s, "riscv64", "b")
	add := func(id, manifest digest.Digest, first, replace bool) {
		t.Helper()
		if err := s.AddImage(ref, id, manifest, first, replace); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(what string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, members(t, s, "base:1")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	add(arm, "index1", false, false)
	expect("the only one is what the name means", "arm64 a")
	add(amd, "index1", true, false)
	expect("this machine's takes its place", "amd64 a", "arm64 a")
	add(arm2, "index2", false, false)
	expect("another for the same platform", "amd64 a", "arm64 b")
	add(riscv, "index2", false, false)
	expect("a third", "amd64 a", "arm64 b", "riscv64 b")
	if members, err := s.IndexMembers(ref, nil); err != nil || len(members) != 1 || members[0].ID != amd {
		t.Errorf("what came with another index does not belong to it: %v, %v", members, err)
	}
	add(addFor(t, s, "amd64", "b"), "index2", true, true)
	expect("all of one index", "amd64 b", "arm64 b", "riscv64 b")
	if members, err := s.IndexMembers(ref, nil); err != nil || len(members) != 3 {
		t.Errorf("what came with the same index belongs members: %v, %v", members, err)
	}
	add(addFor(t, s, "amd64", "c"), "index3", true, true)
	expect("a newer index takes the place of the older", "amd64 c")
	if err := s.SetImages(ref, []digest.Digest{arm, amd}, ""); err != nil {
		t.Fatal(err)
	}
	expect("as they are given", "arm64 a", "amd64 a")
	if _, err := s.SetName(ref, riscv, ""); err != nil {
		t.Fatal(err)
	}
	expect("a name for one image", "riscv64 b")
}

func TestResolveFor(t *testing.T) {
	s := open(t, t.TempDir())
	v6, v7, amd := addFor(t, s, "arm/v6", ""), addFor(t, s, "arm/v7", ""), addFor(t, s, "amd64", "")
	if err := s.SetImages(named(t, "app"), []digest.Digest{amd, v6, v7}, ""); err != nil {
		t.Fatal(err)
	}
	for want, id := range map[string]digest.Digest{"arm/v6": v6, "arm/v7": v7, "arm/v8": v7, "amd64/v3": amd, "arm/v5": "", "arm64": v7} {
		p, err := platform.Parse("linux/"+want, ocispec.Platform{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.ResolveFor("app", p)
		var other *PlatformError
		if got != id || id == "" && !errors.As(err, &other) || id != "" && err != nil {
			t.Errorf("%s: %s, %v", want, got, err)
		}
		if id == "" && !strings.Contains(err.Error(), "only for linux/amd64, linux/arm/v6, linux/arm/v7") {
			t.Errorf("%s: %v", want, err)
		}
	}
	p := ocispec.Platform{OS: "linux", Architecture: "arm64"}
	if _, err := s.ResolveFor(amd.Encoded()[:12], p); err == nil || !strings.Contains(err.Error(), "only for linux/amd64") {
		t.Errorf("an ID of an image for another platform: %v", err)
	}
	if _, err := s.ResolveFor("none", p); !errors.Is(err, ErrNotFound) {
		t.Errorf("a name that means nothing: %v", err)
	}
}

// All images of a name stay as long as it does.
func TestPruneKeepsMembers(t *testing.T) {
	s := open(t, t.TempDir())
	inAMD, inARM := addLayer(t, s, "1", "1"), addLayer(t, s, "2", "2")
	amd, arm := addFor(t, s, "amd64", "", inAMD), addFor(t, s, "arm64", "", inARM)
	if err := s.SetImages(named(t, "app"), []digest.Digest{amd, arm}, ""); err != nil {
		t.Fatal(err)
	}
	dbtest.Tick()
	if p, err := s.Prune(PruneOptions{}); err != nil || len(p.Images) > 0 || len(p.Layers) > 0 {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := s.Limit(0, PruneOptions{Until: time.Now()}); err != nil || len(p.Images) > 0 {
		t.Errorf("%+v, %v", p, err)
	}
	time.Sleep(2 * time.Millisecond)
	p, err := s.RemoveName(named(t, "app"))
	if err != nil || len(p.Images) != 2 || !slices.Contains(p.Layers, inAMD) || !slices.Contains(p.Layers, inARM) {
		t.Errorf("%+v, %v", p, err)
	}
}

// A store of format 1 knows of no platforms, and keeps all that it has.
func TestFormat1(t *testing.T) {
	root := t.TempDir()
	schema, err := os.ReadFile("testdata/format1.sql")
	if err != nil {
		t.Fatal(err)
	}
	c := image.Scratch(ocispec.Platform{OS: "linux", Architecture: "amd64"})
	data, err := image.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	id := digest.FromBytes(data)
	database, err := sql.Open("sqlite", filepath.Join(root, "meta.db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"blobs/sha256", "layers", "tmp", "locks", "contexts"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, q := range []struct {
		text string
		args []any
	}{
		{text: string(schema)},
		{"INSERT INTO configs (id, kind, data, added, used) VALUES (?, 'image', ?, 1, 1)", []any{id, data}},
		{"INSERT INTO names (name, id, set_at) VALUES ('docker.io/library/old:1', ?, 1)", []any{id}},
		{"INSERT INTO records (key, data, made, used) VALUES ('sha256:aa', 'x', 1, 1)", nil},
	} {
		if _, err := database.Exec(q.text, q.args...); err != nil {
			t.Fatal(err)
		}
	}
	if err := database.Close(); err != nil {
		t.Fatal(err)
	}
	s := open(t, root)
	if got, err := s.ResolveFor("old:1", ocispec.Platform{OS: "linux", Architecture: "amd64"}); err != nil || got != id {
		t.Errorf("the image: %s, %v", got, err)
	}
	if r, err := s.Record("sha256:aa"); err != nil || string(r.Data) != "x" {
		t.Errorf("the record: %v, %v", r, err)
	}
	if err := s.AddImage(named(t, "old:1"), addFor(t, s, "arm64", "new"), "", false, false); err != nil {
		t.Fatal(err)
	}
	var version int
	if err := s.db.QueryRow("PRAGMA user_version").Scan(&version); err != nil || version != db.FormatVersion {
		t.Errorf("format %d, %v", version, err)
	}
	all, err := s.Members(named(t, "old:1"))
	if err != nil || len(all) != 2 || all[0].ID != id {
		t.Errorf("%v, %v", all, err)
	}
}
