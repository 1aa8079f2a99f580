package transfer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store"
)

// compress makes a compressed form of a layer, and keeps it: the next push or save finds it. Any way means gzip. begun,
// if not nil, is told of the file when it begins to grow, with the size of the layer's files in bytes.
func (m *Mover) compress(ctx context.Context, l *store.Layer, f form, begun func(size int64, g *store.Growing)) (store.Blob, error) {
	m.report(l.DiffID, "Preparing", 0, 0)
	if f.compression == "" {
		f.compression = layer.Gzip
	}
	dir, err := m.Store.Temp("compress")
	if err != nil {
		return store.Blob{}, err
	}
	defer os.RemoveAll(dir)
	b := store.Blob{MediaType: dockerLayer}
	if f.compression == layer.Zstd {
		b.MediaType = ocispec.MediaTypeImageLayerZstd
	}
	total, err := l.FilesSize(ctx) // without what a tar has beside the files, which is not worth counting
	if err != nil {
		return store.Blob{}, err
	}
	m.report(l.DiffID, "Compressing", 0, total)
	reading := func(n int64) { m.report(l.DiffID, "Compressing", min(n, total), total) }
	file, err := os.OpenFile(filepath.Join(dir, "blob"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return store.Blob{}, err
	}
	defer file.Close()
	g := store.NewGrowing(file)
	defer g.End(false)
	if begun != nil {
		begun(total, g)
	}
	if b.Digest, b.Size, err = writeCompressed(ctx, g, l, f, reading); err != nil {
		return store.Blob{}, fmt.Errorf("compressing layer %s: %w", l.DiffID, m.Store.Explain(err))
	}
	if err := file.Close(); err != nil { // what was not written some file systems say here
		return store.Blob{}, fmt.Errorf("compressing layer %s: %w", l.DiffID, m.Store.Explain(err))
	}
	g.End(true)
	if err := m.Store.PlaceBlob(file.Name(), l.DiffID, b); err != nil || f.level == nil {
		return b, err
	}
	return b, m.Store.PutDerived(l.DiffID, f.how(), store.Derived{Digest: b.Digest})
}

// writeCompressed writes a compressed form of a layer, and tells reading how much of the tar was read.
func writeCompressed(ctx context.Context, g *store.Growing, l *store.Layer, form form, reading func(n int64)) (digest.Digest, int64, error) {
	hash := sha256.New()
	z, err := layer.NewCompressor(form.compression, layer.Beside(g, hash), form.level)
	if err != nil {
		return "", 0, err
	}
	if err := l.WriteTar(ctx, &writeMeter{w: z, report: reading}); err != nil {
		z.Close() // the error that counts is WriteTar's
		return "", 0, err
	}
	if err := z.Close(); err != nil {
		return "", 0, err
	}
	return digest.NewDigest(digest.SHA256, hash), g.Size(), nil
}
