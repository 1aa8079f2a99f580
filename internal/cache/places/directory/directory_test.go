package directory

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/places/placetest"
	"github.com/strata-build/strata/internal/transfer"
)

func TestPlace(t *testing.T) {
	placetest.Test(t, func(t *testing.T) *placetest.Site {
		dir := t.TempDir()
		return &placetest.Site{
			Machine: func(t *testing.T) *transfer.Mover { return placetest.Machine(t) },
			Open: func(_ *testing.T, m *transfer.Mover) (cache.Place, error) {
				return New(m, dir)
			},
			DamageLayers:  damage(dir, true),
			DamageRecords: damage(dir, false),
		}
	})
}

// damage changes a byte of each blob that is a layer, or of each other one.
func damage(dir string, layers bool) func(*testing.T) {
	return func(t *testing.T) {
		files, err := filepath.Glob(filepath.Join(dir, "blobs", "sha256", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.HasPrefix(data, []byte{0x1f, 0x8b}) != layers {
				continue
			}
			data[len(data)/2] ^= 1
			if err := os.WriteFile(name, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func put(t *testing.T, m *transfer.Mover, dir string, steps []cache.Step) {
	t.Helper()
	p, err := New(m, dir)
	if err == nil {
		err = p.Put(t.Context(), steps)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A directory's cache that is damaged is an error, and no path leads out of it.
func TestDamaged(t *testing.T) {
	for name, change := range map[string]func(index *ocispec.Index){
		"no manifest":       func(index *ocispec.Index) { index.Manifests = nil },
		"its manifest":      func(index *ocispec.Index) { index.Manifests[0].Digest = digest.FromString("x") },
		"the size":          func(index *ocispec.Index) { index.Manifests[0].Size++ },
		"a path":            func(index *ocispec.Index) { index.Manifests[0].Digest = "sha256:../../../index.json" },
		"more than allowed": func(index *ocispec.Index) { index.Manifests[0].Size = 1 << 40 },
	} {
		t.Run(name, func(t *testing.T) {
			dir, m := t.TempDir(), placetest.Machine(t)
			put(t, m, dir, placetest.Steps(t, m, "a"))
			index, err := readIndex(dir)
			if err != nil {
				t.Fatal(err)
			}
			change(index)
			data, err := json.Marshal(index)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "index.json"), data, 0o644); err != nil {
				t.Fatal(err)
			}
			p, err := New(m, dir)
			if err != nil {
				t.Fatal(err)
			}
			if records, err := p.Load(t.Context()); err == nil {
				t.Errorf("it is a cache of %d records", records.Len())
			}
		})
	}
}

// What others have in a directory stays, and the cache is there once.
func TestPutBesideOthers(t *testing.T) {
	dir, m := t.TempDir(), placetest.Machine(t)
	other := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("other"), Size: 5}
	if _, err := makeLayout(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(blobPath(dir, other.Digest), []byte("other"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := enterIndex(dir, other, isCache); err != nil {
		t.Fatal(err)
	}
	steps := placetest.Steps(t, m, "a")
	for n := range len(steps) {
		put(t, m, dir, steps[n:])
	}
	index, err := readIndex(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(index.Manifests) != 2 || !cmp.Equal(index.Manifests[0], other) {
		t.Errorf("the index names %v", index.Manifests)
	}
	if data, err := os.ReadFile(blobPath(dir, other.Digest)); err != nil || string(data) != "other" {
		t.Errorf("the other's blob: %q, %v", data, err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "blobs", "sha256", ".*"))
	if err != nil || len(names) > 0 {
		t.Errorf("left behind: %v, %v", strings.Join(names, " "), err)
	}
}

// TestReadWhileWritten reads a cache that others replace all the time, and whose blobs they remove.
func TestReadWhileWritten(t *testing.T) {
	dir := t.TempDir()
	machines := []*transfer.Mover{placetest.Machine(t), placetest.Machine(t)}
	steps := [][]cache.Step{placetest.Steps(t, machines[0], "a"), placetest.Steps(t, machines[1], "b")}
	put(t, machines[0], dir, steps[0])
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for i, m := range machines {
		p, err := New(m, dir)
		if err != nil {
			t.Fatal(err)
		}
		writers.Go(func() {
			for ctx.Err() == nil {
				if err := p.Put(ctx, steps[i]); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		})
	}
	reader := placetest.Machine(t)
	for range 100 {
		p, err := New(reader, dir)
		if err == nil {
			_, err = p.Get(t.Context(), steps[0][0].Key) // the first step is that of both
		}
		if err != nil {
			t.Error(err)
		}
	}
	stop()
	writers.Wait()
	if left, _ := filepath.Glob(filepath.Join(dir, "*.lock")); left != nil {
		t.Errorf("%v stays", left)
	}
}
