package placetest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// Platform is that of the machines.
var Platform = ocispec.Platform{OS: "linux", Architecture: "amd64"}

// Machine is a machine with an empty store, whose mover knows the locations that sources open.
func Machine(t *testing.T, sources ...transfer.BlobSource) *transfer.Mover {
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
	return transfer.New(s, registry.New(registry.Config{}), Platform, sources...)
}

// Steps are steps that the machine ran: two that made layers, which it has, and one that made none. The same name gives
// the same steps on every machine. The first layer is the same whatever the name is.
func Steps(t *testing.T, m *transfer.Mover, name string) []cache.Step {
	t.Helper()
	return []cache.Step{
		step("shared", newLayer(t, m, "shared")),
		step(name, newLayer(t, m, name)),
		step(name+" without files", ""),
	}
}

func step(name string, layer digest.Digest) cache.Step {
	k := &cache.Key{Kind: cache.KindRun}
	k.Add(cache.PartArg, name)
	return cache.NewStep(k, &cache.Record{
		Layer: layer, Created: time.Unix(1e9, 5).UTC(), Took: 3 * time.Millisecond, Instruction: "RUN " + name,
	})
}

// newLayer makes a layer of which there is no compressed form.
func newLayer(t *testing.T, m *transfer.Mover, name string) digest.Digest {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range 20 {
		body := strings.Repeat(fmt.Sprintf("%s %d\n", name, i), 500)
		h := &tar.Header{Name: fmt.Sprintf("%s-%d", name, i), Size: int64(len(body)), Mode: 0o644, ModTime: time.Unix(1e9, 0)}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := m.Store.UnpackNew(t.Context(), "", &b)
	if err != nil {
		t.Fatal(err)
	}
	return l.DiffID
}
