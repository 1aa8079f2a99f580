package transfer

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/transfer/registry/registrytest"
)

// stepsOf are steps that made the layers of an image, one that made none, and one whose layer nobody has.
func stepsOf(t *testing.T, m *Mover, id digest.Digest) []cache.Step {
	t.Helper()
	var steps []cache.Step
	add := func(name string, layer digest.Digest) {
		k := &cache.Key{Kind: cache.KindRun}
		k.Add(cache.PartArg, name)
		steps = append(steps, cache.NewStep(k, &cache.Record{Layer: layer, Created: time.Unix(1e9, 0).UTC(), Instruction: name}))
	}
	for _, l := range layersOf(t, m, id) {
		add(l.DiffID.String(), l.DiffID)
	}
	add("nothing", "")
	add("gone", digest.FromString("gone"))
	return steps
}

// blobsHere are the compressed layers in the store.
func blobsHere(t *testing.T, m *Mover) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(m.Store.Root(), "blobs", "sha256"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// A cache goes to a registry without a layer that some repository there has, and comes back without any.
func TestPushCache(t *testing.T) {
	ctx := context.Background()
	addr := registrytest.Start(t)
	m := newMover(t)
	id := built(t, m, addr+"/me/app:1")
	steps := stepsOf(t, m, id)
	if _, err := m.Push(ctx, named(t, addr+"/me/app:1"), nil); err != nil {
		t.Fatal(err)
	}
	// Whoever compresses them again leaves them here.
	for _, name := range blobsHere(t, m) {
		if err := os.Remove(filepath.Join(m.Store.Root(), "blobs", "sha256", name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{addr + "/me/app:cache", addr + "/cache:1"} {
		if err := m.PushCache(ctx, named(t, name), steps); err != nil {
			t.Fatal(err)
		}
		if here := blobsHere(t, m); len(here) != 0 {
			t.Errorf("%s: these were compressed or fetched: %v", name, here)
		}
		theirs := newMover(t)
		source, err := theirs.Cache(ctx, name, amd64, true)
		if err != nil {
			t.Fatal(err)
		}
		for i, step := range steps {
			got := source.Lookup(step.Key)
			if (got != nil) != (step.Record.Instruction != "gone") {
				t.Errorf("%s: step %d: %v", name, i, got)
			}
			if got == nil || got.Layer == "" {
				continue
			}
			l, err := theirs.Store.Layer(got.Layer)
			if err != nil || l.Present() {
				t.Fatalf("%s: step %d: the layer is here: %v", name, i, err)
			}
			if _, err := l.Tree(ctx); err != nil {
				t.Errorf("%s: step %d: %v", name, i, err)
			}
		}
	}
}

// What is passed on from a directory to a registry is never unpacked.
func TestCacheDirToRegistry(t *testing.T) {
	ctx := context.Background()
	addr, dir := registrytest.Start(t), t.TempDir()
	m := newMover(t)
	steps := stepsOf(t, m, built(t, m, "me/app:1"))
	if err := m.SaveCache(ctx, dir, steps); err != nil {
		t.Fatal(err)
	}
	theirs := newMover(t)
	if _, err := theirs.DirCache(dir); err != nil {
		t.Fatal(err)
	}
	if err := theirs.PushCache(ctx, named(t, addr+"/cache:1"), steps); err != nil {
		t.Fatal(err)
	}
	if here := blobsHere(t, theirs); len(here) != 0 {
		t.Errorf("these came here: %v", here)
	}
	source, err := newMover(t).Cache(ctx, addr+"/cache:1", amd64, true)
	if err != nil || source.Len() != len(steps)-1 {
		t.Errorf("%v, %v", source, err)
	}
}

// A directory's cache that is damaged is an error, and no path leads out of it.
func TestDirCacheDamaged(t *testing.T) {
	for name, change := range map[string]func(dir string, index *ocispec.Index){
		"no manifest":       func(_ string, index *ocispec.Index) { index.Manifests = nil },
		"its manifest":      func(_ string, index *ocispec.Index) { index.Manifests[0].Digest = digest.FromString("x") },
		"the size":          func(_ string, index *ocispec.Index) { index.Manifests[0].Size++ },
		"a path":            func(_ string, index *ocispec.Index) { index.Manifests[0].Digest = "sha256:../../../index.json" },
		"more than allowed": func(_ string, index *ocispec.Index) { index.Manifests[0].Size = 1 << 40 },
		"bytes": func(dir string, index *ocispec.Index) {
			path := layoutBlob(dir, index.Manifests[0].Digest)
			data, _ := os.ReadFile(path)
			data[len(data)/2] ^= 1
			os.WriteFile(path, data, 0o644)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, m := t.TempDir(), newMover(t)
			if err := m.SaveCache(context.Background(), dir, stepsOf(t, m, built(t, m, "me/app:1"))); err != nil {
				t.Fatal(err)
			}
			index, err := readIndex(dir)
			if err != nil {
				t.Fatal(err)
			}
			change(dir, index)
			data, err := json.Marshal(index)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "index.json"), data, 0o644); err != nil {
				t.Fatal(err)
			}
			if s, err := m.DirCache(dir); err == nil {
				t.Errorf("it is a cache of %d records", s.Len())
			}
		})
	}
}

// What others have in a directory stays, and the cache is there once.
func TestSaveCacheBesideOthers(t *testing.T) {
	ctx := context.Background()
	dir, m := t.TempDir(), newMover(t)
	other := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("other"), Size: 5}
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(layoutBlob(dir, other.Digest), []byte("other"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := enterIndex(dir, other); err != nil {
		t.Fatal(err)
	}
	steps := stepsOf(t, m, built(t, m, "me/app:1"))
	for n := range len(steps) {
		if err := m.SaveCache(ctx, dir, steps[n:]); err != nil {
			t.Fatal(err)
		}
	}
	index, err := readIndex(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(index.Manifests) != 2 || !cmp.Equal(index.Manifests[0], other) {
		t.Errorf("the index names %v", index.Manifests)
	}
	if data, err := os.ReadFile(layoutBlob(dir, other.Digest)); err != nil || string(data) != "other" {
		t.Errorf("the other's blob: %q, %v", data, err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "blobs", "sha256", ".*"))
	if err != nil || len(names) > 0 {
		t.Errorf("left behind: %v, %v", strings.Join(names, " "), err)
	}
}
