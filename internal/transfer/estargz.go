package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	stdgzip "compress/gzip"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store"
)

// seekable is what is remembered of an eStargz layer.
type seekable struct {
	Blob        digest.Digest     `json:"blob"`
	Annotations map[string]string `json:"annotations"` // of its descriptor, by which it is found to be one
}

// seekableOf returns what is known of a layer as an eStargz one; nil if it is none.
func (m *Mover) seekableOf(diffID digest.Digest) (*seekable, error) {
	data, err := m.Store.DerivedData(diffID)
	if err != nil || len(data) == 0 {
		return nil, err
	}
	var s seekable
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("reading what is known of layer %s: %w", diffID, err)
	}
	return &s, nil
}

// Seekable gives an image whose layers are eStargz: gzip of which each file can be read alone, by a table of contents
// that is one more file at the end of the tar. Hence they are other layers, with other diffIDs, and the image is another
// image (github.com/containerd/stargz-snapshotter/blob/main/docs/estargz.md). The lowest keep layers stay as they are.
func (m *Mover) Seekable(ctx context.Context, c *image.Config, keep int, level *int) (*image.Config, error) {
	next := image.Clone(c)
	for i := keep; i < len(next.RootFS.DiffIDs); i++ {
		d, err := m.seekableLayer(ctx, next.RootFS.DiffIDs[i], level)
		if err != nil {
			return nil, err
		}
		next.RootFS.DiffIDs[i] = d
	}
	return next, nil
}

func (m *Mover) seekableLayer(ctx context.Context, diffID digest.Digest, level *int) (digest.Digest, error) {
	how := "estargz"
	if level != nil {
		how += levelMark + strconv.Itoa(*level)
	}
	made, err := m.Store.Derived(diffID, how)
	if err == nil {
		if _, err = m.Store.Layer(made.Digest); err == nil {
			return made.Digest, nil
		}
	}
	if !errors.Is(err, store.ErrNotFound) {
		return "", err
	}
	l, err := m.Store.Layer(diffID)
	if err != nil {
		return "", err
	}
	m.report(diffID, "Preparing", 0, 0)
	d, err := m.makeSeekable(ctx, l, level)
	if err != nil {
		return "", fmt.Errorf("compressing layer %s as eStargz: %w", diffID, m.Store.Explain(err))
	}
	return d.Digest, m.Store.PutDerived(diffID, how, *d)
}

func (m *Mover) makeSeekable(ctx context.Context, l *store.Layer, level *int) (*store.Derived, error) {
	dir, err := m.Store.Temp("estargz")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	f, err := os.OpenFile(filepath.Join(dir, "blob"), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	hash := sha256.New()
	toc, err := writeSeekable(ctx, io.MultiWriter(f, hash), l, level)
	if err != nil {
		return nil, err
	}
	b := store.Blob{Digest: digest.NewDigest(digest.SHA256, hash), MediaType: dockerLayer}
	if b.Size, err = f.Seek(0, io.SeekCurrent); err != nil {
		return nil, err
	}
	diffID, size, err := contentsOf(f)
	if err != nil {
		return nil, err
	}
	known := seekable{Blob: b.Digest, Annotations: map[string]string{
		estargz.TOCJSONDigestAnnotation:         toc.String(),
		estargz.StoreUncompressedSizeAnnotation: strconv.FormatInt(size, 10),
	}}
	data, err := json.Marshal(known)
	if err != nil {
		return nil, err
	}
	if err := m.Store.AddRemote(diffID, b); err != nil {
		return nil, err
	}
	return &store.Derived{Digest: diffID, Data: data}, m.Store.PlaceBlob(f.Name(), diffID, b)
}

// writeSeekable writes the eStargz form and returns the digest of its table of contents. The tar in it stays as it is.
func writeSeekable(ctx context.Context, to io.Writer, l *store.Layer, level *int) (digest.Digest, error) {
	at := stdgzip.DefaultCompression
	if level != nil {
		at = *level
	}
	w := estargz.NewWriterLevel(to, at)
	r, tar := io.Pipe()
	go func() { tar.CloseWithError(l.WriteTar(ctx, tar)) }()
	err := w.AppendTarLossLess(r)
	r.CloseWithError(err)
	if err != nil {
		return "", err
	}
	return w.Close()
}

// contentsOf gives digest and size of what a compressed file holds.
func contentsOf(f *os.File) (digest.Digest, int64, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", 0, err
	}
	z, err := layer.Decompress(f, layer.Unlimited)
	if err != nil {
		return "", 0, err
	}
	defer z.Close()
	hash := sha256.New()
	n, err := io.CopyBuffer(hash, z, make([]byte, 1<<18))
	return digest.NewDigest(digest.SHA256, hash), n, err
}
