package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

var amd64 = ocispec.Platform{OS: "linux", Architecture: "amd64"}

// newClient returns a client with an empty configuration and little patience.
func newClient(tb testing.TB) *Client {
	tb.Helper()
	c := New(Config{DockerConfig: tb.TempDir()})
	c.backoff = func(int) time.Duration { return time.Millisecond }
	return c
}

func mustName(tb testing.TB, s string) reference.Named {
	tb.Helper()
	named, err := ParseName(s)
	if err != nil {
		tb.Fatal(err)
	}
	return named
}

// noise gives n bytes that are always the same for a seed.
func noise(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	b := make([]byte, n)
	rand.NewChaCha8(key).Read(b)
	return b
}

func layerOf(data []byte) Upload {
	return Upload{
		Desc: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.FromBytes(data), Size: int64(len(data))},
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
	}
}

// testImage is an image whose layers are noise: registries do not look into them.
func testImage(tb testing.TB, platform ocispec.Platform, layers ...[]byte) (blobs []Upload, manifest Blob) {
	tb.Helper()
	config := ocispec.Image{Platform: platform, RootFS: ocispec.RootFS{Type: "layers"}}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for _, data := range layers {
		b := layerOf(data)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, b.Desc.Digest)
		m.Layers = append(m.Layers, b.Desc)
		blobs = append(blobs, b)
	}
	c := layerOf(mustJSON(tb, config))
	c.Desc.MediaType = ocispec.MediaTypeImageConfig
	m.Config = c.Desc
	return append(blobs, c), blobOf(m.MediaType, mustJSON(tb, m))
}

func blobOf(mediaType string, data []byte) Blob {
	return Blob{MediaType: mediaType, Digest: digest.FromBytes(data), Data: data}
}

func mustJSON(tb testing.TB, v any) []byte {
	tb.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// memSink is a Sink that keeps blobs in memory.
type memSink struct {
	mu      sync.Mutex
	blobs   map[digest.Digest][]byte
	partial map[digest.Digest][]byte
	resets  int
}

func newMemSink() *memSink {
	return &memSink{blobs: make(map[digest.Digest][]byte), partial: make(map[digest.Digest][]byte)}
}

func (s *memSink) Has(d digest.Digest) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.blobs[d]
	return ok, nil
}

func (s *memSink) Ingest(_ context.Context, d digest.Digest, _ int64) (Ingest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &memIngest{sink: s, digest: d, data: s.partial[d]}, nil
}

type memIngest struct {
	sink   *memSink
	digest digest.Digest
	data   []byte
	done   bool
}

func (i *memIngest) Write(p []byte) (int, error) {
	i.data = append(i.data, p...)
	return len(p), nil
}

func (i *memIngest) Offset() int64 { return int64(len(i.data)) }

func (i *memIngest) Commit() error {
	if got := digest.FromBytes(i.data); got != i.digest {
		return fmt.Errorf("committing: %w", &DigestError{Want: i.digest, Got: got})
	}
	i.sink.mu.Lock()
	defer i.sink.mu.Unlock()
	i.sink.blobs[i.digest], i.done = i.data, true
	delete(i.sink.partial, i.digest)
	return nil
}

func (i *memIngest) Close() error {
	i.sink.mu.Lock()
	defer i.sink.mu.Unlock()
	if !i.done {
		i.sink.partial[i.digest] = i.data
	}
	return nil
}

func (i *memIngest) Reset() error {
	i.data = nil
	i.sink.resets++
	return nil
}
