package main

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store"
)

const imageName = "bench/million"

// perDir is how many files a directory has.
const perDir = 1000

func dirName(i int) string { return fmt.Sprintf("srv/data/dir-%04d", i/perDir) }

func fileName(i int) string { return fmt.Sprintf("%s/some-file-%07d.txt", dirName(i), i) }

// fill makes a store with the image: a layer with all files, and one that writes a thousandth of them again and removes
// as many.
func fill(ctx context.Context, root string, files int) error {
	s, err := store.Open(root)
	if err != nil {
		return err
	}
	defer s.Close()
	c := image.Scratch(ocispec.Platform{OS: "linux", Architecture: "amd64"})
	now := time.Unix(1_700_000_000, 0).UTC()
	for i, write := range []func(*tar.Writer) error{
		func(w *tar.Writer) error { return base(w, files) },
		func(w *tar.Writer) error { return change(w, files) },
	} {
		id, err := scan(ctx, s, write)
		if err != nil {
			return err
		}
		c = image.Add(c, c.Config, image.History{Created: &now, CreatedBy: fmt.Sprintf("COPY layer%d /", i)}, id)
	}
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	id, err := s.PutConfig(data, "", store.Image)
	if err != nil {
		return err
	}
	name, err := reference.ParseNormalizedNamed(imageName)
	if err != nil {
		return err
	}
	_, err = s.SetName(name, id, "")
	return err
}

// scan has the store keep the table of contents of a tar, which is written twice: for its digest, and to be read.
func scan(ctx context.Context, s *store.Store, write func(*tar.Writer) error) (digest.Digest, error) {
	h := sha256.New()
	if err := finish(h, write); err != nil {
		return "", err
	}
	id := digest.NewDigest(digest.SHA256, h)
	r, w := io.Pipe()
	defer r.Close()
	go func() { w.CloseWithError(finish(w, write)) }()
	return id, s.Scan(ctx, id, r)
}

func finish(to io.Writer, write func(*tar.Writer) error) error {
	w := tar.NewWriter(to)
	if err := write(w); err != nil {
		return err
	}
	return w.Close()
}

func base(w *tar.Writer, files int) error {
	for i := range files {
		if i%perDir == 0 {
			if err := w.WriteHeader(&tar.Header{Name: dirName(i) + "/", Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
				return err
			}
		}
		if err := file(w, fileName(i), fmt.Sprint(i)); err != nil {
			return err
		}
	}
	return nil
}

func change(w *tar.Writer, files int) error {
	for i := 0; i < files; i += perDir {
		if err := file(w, fileName(i), "changed"); err != nil {
			return err
		}
		if err := file(w, fmt.Sprintf("%s/.wh.some-file-%07d.txt", dirName(i), i+1), ""); err != nil {
			return err
		}
	}
	return nil
}

func file(w *tar.Writer, name, contents string) error {
	h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(contents))}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.WriteString(w, contents)
	return err
}
