package layers

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/identity"
	"github.com/strata-build/strata/internal/store/content"
)

// AddTar takes in a layer from r, its uncompressed tar with the digest diffID, and keeps the bytes as they are:
// a tar that others wrote cannot be made again from its files. It becomes a tree when a step runs on it.
func (ls *Layers) AddTar(ctx context.Context, diffID digest.Digest, r io.Reader) (*Layer, error) {
	dir, err := ls.session.Temp("tar")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	f, err := os.OpenFile(filepath.Join(dir, "tar"), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("storing layer %s: %w", diffID, ls.session.Explain(err))
	}
	defer f.Close()
	t, err := copyTar(ctx, f, diffID, r, ls.limits.On(ls.root))
	if err != nil {
		return nil, fmt.Errorf("storing layer %s: %w", diffID, ls.session.Explain(err))
	}
	if !t.Sparse() {
		return ls.AddLayer(diffID, t, dir)
	}
	if err := identity.Current().Trees(); err != nil {
		return nil, fmt.Errorf("storing layer %s, which has sparse files: %w", diffID, err)
	}
	// The contents of sparse files are not in the tar as they are: keep it as a blob beside the tree.
	size, err := f.Seek(0, io.SeekCurrent)
	if err == nil {
		err = ls.content.PlaceBlob(f.Name(), diffID, content.Blob{Digest: diffID, Size: size, MediaType: ocispec.MediaTypeImageLayer})
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, fmt.Errorf("storing layer %s: %w", diffID, err)
	}
	return ls.unpackTree(ctx, diffID, f)
}

// copyTar writes r to f and returns its table of contents.
func copyTar(ctx context.Context, f *os.File, diffID digest.Digest, r io.Reader, l layer.Limits) (*layer.Assembled, error) {
	sum := layer.NewCopyingReader(r, layer.NewBehind(f, 0))
	t, err := layer.Scan(ctx, sum, l)
	if err == nil {
		// What follows the end mark of a tar is part of the layer's digest.
		_, err = io.CopyBuffer(io.Discard, sum, make([]byte, 1<<16))
	}
	if copied := sum.Copied(); err == nil {
		err = copied
	}
	if err != nil {
		return nil, err
	}
	if got := sum.Digest(); got != diffID {
		return nil, fmt.Errorf("its contents have the digest %s; whoever made or sent the image damaged it: ask its author", got)
	}
	return t, nil
}

func hasSparse(t *layer.TOC) bool {
	for _, e := range t.Entries {
		if e.Type == layer.File && e.Offset < 0 {
			return true
		}
	}
	return false
}

// TarSize is the length in bytes of what WriteTar writes.
func (l *Layer) TarSize(ctx context.Context) (int64, error) {
	t, err := l.TOC(ctx)
	if err != nil {
		return 0, err
	}
	if d, err := l.layers.delta(l.DiffID); err == nil && d != nil {
		return d.Size, nil
	}
	if st, err := os.Stat(l.layers.Path(l.DiffID, formTar)); err == nil {
		return st.Size(), nil
	}
	var n counter
	blobs, err := l.layers.content.Blobs(l.DiffID)
	if err != nil {
		return 0, err
	}
	for _, b := range blobs {
		if l.layers.content.HasBlob(b.Digest) {
			err := l.WriteTar(ctx, &n)
			return int64(n), err
		}
	}
	// Only the headers count, so no file has to be read: zeros will do for their contents.
	err = layer.WriteTar(ctx, &n, t, func(_ context.Context, e *layer.Entry) (io.ReadCloser, error) {
		return io.NopCloser(io.LimitReader(zeros{}, e.Size)), nil
	})
	return int64(n), err
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
