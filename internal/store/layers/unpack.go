package layers

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/identity"
	"github.com/strata-build/strata/internal/store/content"
	"github.com/strata-build/strata/internal/store/db"
)

// Unpack takes in a layer from r, its tar, compressed or not. The tar must have the digest diffID.
func (ls *Layers) Unpack(ctx context.Context, diffID digest.Digest, r io.Reader) error {
	_, err := ls.UnpackNew(ctx, diffID, r)
	return err
}

// UnpackNew is Unpack that returns the layer. Without a diffID the layer is a new one, whose tar is the one that
// its files give: nobody else knows the tar that came, which could not be made again from them.
func (ls *Layers) UnpackNew(ctx context.Context, diffID digest.Digest, r io.Reader) (*Layer, error) {
	limits := ls.limits.On(ls.root)
	z, err := layer.Decompress(r, limits)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", unpacking(diffID), err)
	}
	defer z.Close()
	if identity.Current().Trees() == nil && !ls.KeepsTars() {
		return ls.unpackTree(ctx, diffID, z)
	}
	if diffID == "" {
		return ls.addNewTar(ctx, z)
	}
	return ls.AddTar(ctx, diffID, z)
}

func unpacking(diffID digest.Digest) string {
	if diffID == "" {
		return "unpacking the tar"
	}
	return fmt.Sprintf("unpacking layer %s", diffID)
}

// unpackTree is UnpackNew of an uncompressed tar, as a tree.
func (ls *Layers) unpackTree(ctx context.Context, diffID digest.Digest, r io.Reader) (*Layer, error) {
	what := unpacking(diffID)
	dir, err := ls.session.Temp("unpack")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, formTree)
	if err := os.Mkdir(out, 0o755); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	hash := digest.SHA256.Digester()
	tee := io.TeeReader(r, hash.Hash())
	t, err := layer.Unpack(ctx, tee, out, layer.UnpackOptions{Limits: ls.limits.On(ls.root)})
	if err == nil {
		// What follows the end mark of a tar is part of the layer's digest.
		_, err = io.CopyBuffer(io.Discard, tee, make([]byte, 1<<16))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, ls.session.Explain(err))
	}
	got := hash.Digest()
	switch {
	case diffID == "":
		made, err := layer.HashTar(ctx, t, layer.TreeSource(out, t).Open)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		got, t = made.DiffID, made.TOC
	case got != diffID:
		return nil, fmt.Errorf("%s: its contents have the digest %s; whoever made or sent the image damaged it: pull it again, or ask its author", what, got)
	}
	return ls.AddLayer(got, t, dir)
}

// addNewTar makes a layer of the files of the tar r, without a tree where it has no sparse files.
func (ls *Layers) addNewTar(ctx context.Context, r io.Reader) (*Layer, error) {
	failed := func(err error) (*Layer, error) {
		return nil, fmt.Errorf("%s: %w", unpacking(""), ls.session.Explain(err))
	}
	dir, err := ls.session.Temp("tar")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	came, err := os.OpenFile(filepath.Join(dir, "came"), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return failed(err)
	}
	defer came.Close()
	t, err := layer.Scan(ctx, io.TeeReader(r, came), ls.limits.On(ls.root))
	if err != nil {
		return failed(err)
	}
	if t.Sparse() {
		if err := identity.Current().Trees(); err != nil {
			return failed(fmt.Errorf("it has sparse files: %w", err))
		}
		if _, err := came.Seek(0, io.SeekStart); err != nil {
			return failed(err)
		}
		return ls.unpackTree(ctx, "", came)
	}
	out, err := os.OpenFile(filepath.Join(dir, formTar), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return failed(err)
	}
	defer out.Close()
	made, err := layer.WriteEncodedTarFile(ctx, out, t, layer.TarSource(came.Name(), nil).Open)
	if err == nil {
		err = os.Remove(came.Name())
	}
	if err != nil {
		return failed(err)
	}
	return ls.AddLayer(made.DiffID, made.Encoded, dir)
}

// Unpacking is a layer that is unpacked while its blob is written.
type Unpacking struct {
	blob *content.Follower
	done chan struct{}
	err  error
}

// UnpackWhile unpacks the layer diffID from a blob that is being written. The layer gets its name after the blob was
// committed, and only if its tar has the digest diffID.
func (ls *Layers) UnpackWhile(ctx context.Context, diffID digest.Digest, in *content.Ingest) (*Unpacking, error) {
	r, err := in.Follow()
	if err != nil {
		return nil, err
	}
	u := &Unpacking{blob: r, done: make(chan struct{})}
	go func() {
		defer close(u.done)
		defer r.Close()
		u.err = ls.Unpack(ctx, diffID, r)
	}()
	return u, nil
}

// Wait waits for the layer; it is here if the error is nil. A blob that was begun anew gives
// db.ErrNotFound: then the layer has to be unpacked from the blob when that is complete. The Ingest
// has to be closed or committed before.
func (u *Unpacking) Wait() error {
	<-u.done
	// Bytes that were dropped may have been wrong, and unpacking may have met them before it met their end.
	if u.err != nil && u.blob.Dropped() {
		return fmt.Errorf("%w: %w", db.ErrNotFound, u.err)
	}
	return u.err
}
