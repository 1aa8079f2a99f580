package export

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer"
)

// addLayer makes a layer of one file with a time.
func addLayer(t *testing.T, s *store.Store, name string, at time.Time) digest.Digest {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(name)), Mode: 0o644, ModTime: at}
	if err := w.WriteHeader(h); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(name)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := s.UnpackNew(context.Background(), "", &b)
	if err != nil {
		t.Fatal(err)
	}
	return l.DiffID
}

// build makes an image as a build at a time does: a base of a fixed time, a layer that is older than the epoch, and
// one of which time and duration are those of the build, with their keys.
func build(t *testing.T, s *store.Store, at time.Time) Image {
	t.Helper()
	old := time.Unix(500, 0).UTC()
	base := image.Scratch(ocispec.Platform{OS: "linux", Architecture: "amd64"})
	late := time.Unix(5e9, 0).UTC() // a base that is younger than the epoch keeps its times
	base = image.Add(base, base.Config, image.History{Created: &late, CreatedBy: "base"}, addLayer(t, s, "base", late))
	c := base
	var steps []cache.Step
	for _, step := range []struct {
		name string
		at   time.Time
	}{{"old", old}, {"new", at}} {
		made := addLayer(t, s, step.name, step.at)
		k := &cache.Key{Kind: cache.KindRun}
		k.Add(cache.PartArg, step.name)
		k.Add(cache.PartChain, cache.ChainPart(c.RootFS.DiffIDs))
		r := &cache.Record{Layer: made, Created: at, Took: time.Since(time.Unix(0, 0))}
		steps = append(steps, cache.NewStep(k, r))
		c = image.Add(c, c.Config, image.History{Created: &at, CreatedBy: step.name}, made)
		c.Cached = append(c.Cached, image.CachedRow{Row: len(c.History) - 1, Key: k.Digest(), MS: at.Unix()})
		c = image.Add(c, c.Config, image.History{Created: &at, CreatedBy: "ENV " + step.name}, "")
	}
	last := addLayer(t, s, "last", at)
	k := &cache.Key{Kind: cache.KindCopy}
	k.Add(cache.PartChain, cache.ChainPart(c.RootFS.DiffIDs))
	steps = append(steps, cache.NewStep(k, &cache.Record{Layer: last, Created: at}))
	c = image.Add(c, c.Config, image.History{Created: &at, CreatedBy: "last"}, last)
	c.Cached = append(c.Cached, image.CachedRow{Row: len(c.History) - 1, Key: k.Digest(), MS: 1})
	data, err := image.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	id, err := s.PutConfig(data, "", store.Step)
	if err != nil {
		t.Fatal(err)
	}
	return Image{ID: id, Config: c, Base: base, Steps: steps}
}

func TestDated(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("layers keep owners, which only root can set")
	}
	ctx := context.Background()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	x := &exporter{Mover: &transfer.Mover{Store: s}}
	epoch := time.Unix(1e9, 0).UTC()
	first, second := build(t, s, time.Unix(2e9, 0).UTC()), build(t, s, time.Unix(3e9, 0).UTC())
	one, err := x.dated(ctx, &first, epoch, true)
	if err != nil {
		t.Fatal(err)
	}
	two, err := x.dated(ctx, &second, epoch, true)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(one, two); diff != "" {
		t.Errorf("two builds give different images:\n%s", diff)
	}
	if got := *one.History[0].Created; got != *first.Base.History[0].Created {
		t.Errorf("the base's row has the time %v", got)
	}
	for _, row := range one.History[1:] {
		if !row.Created.Equal(epoch) {
			t.Errorf("%s has the time %v", row.CreatedBy, row.Created)
		}
	}
	before, after := first.Config.RootFS.DiffIDs, one.RootFS.DiffIDs
	if before[0] != after[0] || before[1] != after[1] || before[2] == after[2] {
		t.Errorf("layers %v became %v: only what is after the epoch is to change", before, after)
	}
	for i, row := range one.Cached {
		want := first.Config.Cached[i].Key
		if row.MS != 0 || (row.Key == want) != (i < 2) {
			t.Errorf("row %d of the cache is %+v, was %s: a key is to change where the layers below did", i, row, want)
		}
	}
	if key := cache.Rebase(first.Steps[2], after[:3]); one.Cached[2].Key != key {
		t.Errorf("key %s, want that of the new layers, %s", one.Cached[2].Key, key)
	}

	kept, err := x.dated(ctx, &first, epoch, false)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, kept.RootFS.DiffIDs); diff != "" {
		t.Errorf("layers that are to keep their times:\n%s", diff)
	}
	if !kept.Created.Equal(epoch) || kept.Cached[2].Key != first.Config.Cached[2].Key {
		t.Errorf("%+v", kept)
	}
}
