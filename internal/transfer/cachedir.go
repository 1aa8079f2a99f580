package transfer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer/archive"
)

// Limits of what is read of a directory's cache into memory, in bytes, as for registries.
const (
	maxCacheManifest = 4 << 20
	maxCacheConfig   = 8 << 20
)

// DirCache makes a source of the cache that a directory has, an OCI layout that SaveCache wrote.
// Layers stay where they are until one is needed.
func (m *Mover) DirCache(dir string) (*cache.Source, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	index, err := readIndex(abs)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(index.Manifests, isCache)
	if i < 0 {
		return nil, fmt.Errorf("%s holds no cache of strata; write one there with --cache-to type=local,dest=%[1]s", dir)
	}
	var manifest ocispec.Manifest
	data, err := readLayout(abs, index.Manifests[i], maxCacheManifest)
	if err == nil {
		err = json.Unmarshal(data, &manifest)
	}
	if err == nil {
		data, err = readLayout(abs, manifest.Config, maxCacheConfig)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the cache in %s: %w", dir, err)
	}
	return m.exportedCache(dir, data, manifest.Layers, layoutPrefix+abs)
}

func isCache(d ocispec.Descriptor) bool { return d.ArtifactType == cache.ArtifactType }

// readIndex reads the index of an OCI layout.
func readIndex(dir string) (*ocispec.Index, error) {
	l, err := archive.OpenLayout(dir)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return l.Index()
}

// readLayout reads a blob of an OCI layout into memory and checks it.
func readLayout(dir string, desc ocispec.Descriptor, limit int64) ([]byte, error) {
	if desc.Size > limit {
		return nil, fmt.Errorf("blob %s has %d bytes, more than the %d that are allowed", desc.Digest, desc.Size, limit)
	}
	f, err := openLayout(dir, desc)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit))
	if err == nil && digest.FromBytes(data) != desc.Digest {
		err = fmt.Errorf("blob %s does not have the bytes that its digest promises", desc.Digest)
	}
	return data, err
}

// SaveCache writes steps into a directory as an exported cache, in an OCI layout. What else the
// layout has stays; the cache that was there is replaced once the new one is complete.
func (m *Mover) SaveCache(ctx context.Context, dir string, steps []cache.Step) error {
	m = m.With(nil) // events are of what the build fetches
	steps, diffIDs, err := m.exportable(steps)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, ocispec.ImageBlobsDir, "sha256"), 0o755); err != nil {
		return err
	}
	layers, err := m.Store.Chain(diffIDs)
	if err != nil {
		return err
	}
	blobs := make([]store.Blob, len(layers))
	for i, l := range layers {
		if blobs[i], err = m.saveLayer(ctx, dir, l); err != nil {
			return err
		}
	}
	config, manifest, err := newCacheManifest(steps, layers, blobs)
	if err != nil {
		return err
	}
	for _, b := range []struct {
		desc ocispec.Descriptor
		data []byte
	}{{config.Descriptor(), config.Data}, {manifest.Descriptor(), manifest.Data}} {
		if err := writeLayout(dir, b.desc, io.NopCloser(bytes.NewReader(b.data))); err != nil {
			return err
		}
	}
	desc := manifest.Descriptor()
	desc.ArtifactType = cache.ArtifactType
	return enterIndex(dir, desc)
}

// saveLayer makes sure that a layout has a compressed form of a layer, the one that it has already if there is one.
func (m *Mover) saveLayer(ctx context.Context, dir string, l *store.Layer) (store.Blob, error) {
	known, err := m.Store.Blobs(l.DiffID)
	if err != nil {
		return store.Blob{}, err
	}
	known = slices.DeleteFunc(known, func(b store.Blob) bool { return b.MediaType == ocispec.MediaTypeImageLayer })
	for _, b := range known {
		if f, err := openLayout(dir, b.Descriptor()); err == nil {
			return b, f.Close()
		}
	}
	var failure error
	for _, b := range known {
		r, err := m.open(ctx, b, known)
		if err == nil {
			err = writeLayout(dir, b.Descriptor(), r)
		}
		if err == nil || ctx.Err() != nil {
			return b, err
		}
		failure = err
	}
	if !l.Present() {
		return store.Blob{}, fmt.Errorf("layer %s is neither on this machine nor at its source: %w", l.DiffID, failure)
	}
	b, err := m.compress(ctx, l, form{})
	if err != nil {
		return b, err
	}
	r, err := m.Store.OpenBlob(b.Digest)
	if err != nil {
		return b, err
	}
	return b, writeLayout(dir, b.Descriptor(), r)
}

// writeLayout writes a blob into an OCI layout unless it is there, checks it and gives it its name. It closes r.
func writeLayout(dir string, desc ocispec.Descriptor, r io.ReadCloser) error {
	defer r.Close()
	if f, err := openLayout(dir, desc); err == nil {
		return f.Close()
	}
	return replaceFile(layoutBlob(dir, desc.Digest), func(f *os.File) error {
		verifier := desc.Digest.Verifier()
		if _, err := io.CopyBuffer(io.MultiWriter(f, verifier), r, make([]byte, 1<<18)); err != nil {
			return err
		}
		if !verifier.Verified() {
			return fmt.Errorf("blob %s does not have the bytes that its digest promises", desc.Digest)
		}
		return nil
	})
}

// replaceFile writes a file under another name and renames it.
func replaceFile(path string, write func(*os.File) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".strata-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = errors.Join(f.Chmod(0o644), write(f))
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// enterIndex makes the manifest desc the cache of a layout, beside what else its index names.
func enterIndex(dir string, desc ocispec.Descriptor) error {
	index, err := readIndex(dir)
	if errors.Is(err, fs.ErrNotExist) {
		index, err = &ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}, nil
	}
	if err != nil {
		return err
	}
	index.Manifests = append(slices.DeleteFunc(index.Manifests, isCache), desc)
	for _, file := range []struct {
		name string
		v    any
	}{
		{ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}},
		{ocispec.ImageIndexFile, index},
	} {
		err := replaceFile(filepath.Join(dir, file.name), func(f *os.File) error { return json.NewEncoder(f).Encode(file.v) })
		if err != nil {
			return err
		}
	}
	return nil
}
