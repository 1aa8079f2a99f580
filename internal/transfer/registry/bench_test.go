package registry

import (
	"fmt"
	"testing"

	"github.com/strata-build/strata/internal/transfer/registry/registrytest"
)

// BenchmarkFetch is a layer of 64 MiB from a registry on this machine.
func BenchmarkFetch(b *testing.B) {
	c := newClient(b)
	ref := mustName(b, registrytest.Start(b)+"/me/app:1")
	blobs, manifest := testImage(b, amd64, noise(70, 64<<20))
	if _, err := c.Push(b.Context(), ref, blobs, manifest, nil); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(64 << 20)
	for b.Loop() {
		r, err := c.newBlobReader(b.Context(), ref, blobs[0].Desc, 0)
		if err != nil {
			b.Fatal(err)
		}
		if err := pump(discard{}, r, func() {}); err != nil {
			b.Fatal(err)
		}
		r.Close()
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkPushNothing is a push of an image that the registry has already, under a new tag.
func BenchmarkPushNothing(b *testing.B) {
	host := registrytest.Start(b)
	blobs, manifest := testImage(b, amd64, noise(71, 1000), noise(72, 1000), noise(73, 1000))
	n := 0
	for b.Loop() {
		n++
		if _, err := newClient(b).Push(b.Context(), mustName(b, fmt.Sprintf("%s/me/app:%d", host, n)), blobs, manifest, nil); err != nil {
			b.Fatal(err)
		}
	}
}
