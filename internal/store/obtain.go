package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
)

// ensure brings the layer's bytes here if they are not.
func (l *Layer) ensure(ctx context.Context) error {
	if l.Present() {
		return nil
	}
	s := l.store
	unlock := s.lockLayer(l.DiffID)
	defer unlock()
	if l.Present() {
		return nil
	}
	blobs, err := s.Blobs(l.DiffID)
	if err != nil {
		return err
	}
	failure := errors.New("nothing says where to get it; pull its image again, or build with --no-cache")
	for _, b := range blobs {
		if err := l.ensureFrom(ctx, b); err == nil {
			return nil
		} else if ctx.Err() != nil || isLocal(err) {
			return fmt.Errorf("fetching layer %s: %w", l.DiffID, err)
		} else if !errors.Is(err, errNowhere) {
			failure = err
		}
	}
	return &UnavailableError{l.DiffID, failure}
}

// errNowhere is a form of a layer that is no more where it was, with nothing else to say about it.
var errNowhere = errors.New("not here")

// ensureFrom makes the layer out of one of its compressed forms.
func (l *Layer) ensureFrom(ctx context.Context, b Blob) error {
	s := l.store
	if !exists(s.blobPath(b.Digest)) {
		if b.Repository == "" || s.Fetcher == nil {
			return errNowhere
		}
		if err := s.Fetcher.Fetch(ctx, b.Repository, b.Descriptor(), l.DiffID); err != nil {
			return err
		}
		if l.Present() {
			return nil
		}
	}
	return s.unpackBlob(ctx, l.DiffID, b)
}

// isLocal says that an error is this machine's: another source would not help.
func isLocal(err error) bool {
	for _, e := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EACCES, syscall.EMFILE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (s *Store) unpackBlob(ctx context.Context, diffID digest.Digest, b Blob) error {
	r, err := s.OpenBlob(b.Digest)
	if err != nil {
		return err
	}
	defer r.Close()
	return s.Unpack(ctx, diffID, r)
}

// Unpack takes in a layer from r, its tar, compressed or not. The tar must have the digest diffID.
func (s *Store) Unpack(ctx context.Context, diffID digest.Digest, r io.Reader) error {
	_, err := s.UnpackNew(ctx, diffID, r)
	return err
}

// UnpackNew is Unpack that returns the layer. Without a diffID the layer is a new one, whose tar is the one that
// its files give: nobody else knows the tar that came, which could not be made again from them.
func (s *Store) UnpackNew(ctx context.Context, diffID digest.Digest, r io.Reader) (*Layer, error) {
	what := "unpacking the tar"
	if diffID != "" {
		what = fmt.Sprintf("unpacking layer %s", diffID)
	}
	dir, err := s.Temp("unpack")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "fs")
	if err := os.Mkdir(out, 0o755); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	z, err := layer.Decompress(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	defer z.Close()
	hash := digest.SHA256.Digester()
	tee := io.TeeReader(z, hash.Hash())
	t, err := layer.Unpack(ctx, tee, out, layer.UnpackOptions{})
	if err == nil {
		// What follows the end mark of a tar is part of the layer's digest.
		_, err = io.CopyBuffer(io.Discard, tee, make([]byte, 1<<16))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w%s", what, err, hint(err))
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
	return s.AddLayer(got, t, dir)
}
