package transfer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store"
)

// compress makes the compressed form of a layer that has none, and keeps it: the next push or save finds it.
func (m *Mover) compress(ctx context.Context, l *store.Layer) (store.Blob, error) {
	m.report(l.DiffID, "Preparing", 0, 0)
	dir, err := m.Store.Temp("compress")
	if err != nil {
		return store.Blob{}, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "blob")
	b := store.Blob{MediaType: dockerLayer}
	if b.Digest, b.Size, err = writeGzip(ctx, path, l); err != nil {
		return store.Blob{}, fmt.Errorf("compressing layer %s: %w%s", l.DiffID, err, store.Advice(err))
	}
	return b, m.Store.PlaceBlob(path, l.DiffID, b)
}

func writeGzip(ctx context.Context, path string, l *store.Layer) (digest.Digest, int64, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	hash := sha256.New()
	z := layer.NewGzip(io.MultiWriter(f, hash))
	if err := l.WriteTar(ctx, z); err != nil {
		z.Close() // the error that counts is WriteTar's
		return "", 0, err
	}
	if err := z.Close(); err != nil {
		return "", 0, err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return "", 0, err
	}
	return digest.NewDigest(digest.SHA256, hash), size, f.Close()
}
