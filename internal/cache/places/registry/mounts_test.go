package registry_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/cache/packed"
	"github.com/strata-build/strata/internal/cache/places/placetest"
	"github.com/strata-build/strata/internal/cache/places/registry"
	"github.com/strata-build/strata/internal/transfer/registry/registrytest"
)

// A mount that another build puts while this one sends its blobs stays.
func TestMountMeanwhile(t *testing.T) {
	p, err := registry.New(placetest.Machine(t), registrytest.Start(t)+"/me/app:cache")
	if err != nil {
		t.Fatal(err)
	}
	put := func(list string, meanwhile func()) error {
		blob := packed.Blob{Digest: digest.FromString(list), Size: int64(len(list)), Raw: int64(len(list))}
		open := func() (io.ReadCloser, error) {
			meanwhile()
			return io.NopCloser(bytes.NewReader([]byte(list))), nil
		}
		d := &packed.Document{Mount: packed.Name{ID: "/x", Arch: "amd64"}, List: blob}
		return p.PutMount(t.Context(), d, map[digest.Digest]packed.OpenFunc{blob.Digest: open}, nil)
	}
	var other error
	if err := put("one", func() { other = put("another", func() {}) }); !errors.Is(err, packed.ErrChanged) || other != nil {
		t.Errorf("the error is %v; the other's is %v", err, other)
	}
}
