package transfer

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer/archive"
)

// layoutPrefix makes a repository's name of a directory with an OCI layout: "oci-layout:/path". No name in a registry can look
// like that, since a port would have to follow the colon.
const layoutPrefix = "oci-layout:"

// layoutDir is the directory that a repository's name means, if it means one.
func layoutDir(repository string) (string, bool) { return strings.CutPrefix(repository, layoutPrefix) }

func layoutBlob(dir string, d digest.Digest) string {
	return filepath.Join(dir, ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// openLayout opens a blob of an OCI layout, whose digest is for the caller to check.
func openLayout(dir string, desc ocispec.Descriptor) (io.ReadSeekCloser, error) {
	l, err := archive.OpenLayout(dir)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return l.Open(desc)
}

// LayoutBase finds the image that a FROM names in an OCI layout: the one with a digest or, without, with a name or
// tag. No layer moves: whoever needs one takes it from the directory then.
func (m *Mover) LayoutBase(dir, tag string, d digest.Digest, platform ocispec.Platform) (*store.Config, error) {
	l, err := archive.OpenLayout(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the OCI layout: %w", err)
	}
	defer l.Close()
	if d == "" {
		if d, err = l.Find(tag); err != nil {
			return nil, err
		}
	}
	img, err := l.Image(d, platform)
	if err != nil {
		return nil, err
	}
	c, err := image.Parse(img.Config.Data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	for i, desc := range img.Layers {
		b := store.Blob{Digest: desc.Digest, Size: desc.Size, MediaType: desc.MediaType, Repository: layoutPrefix + dir}
		if err := m.Store.AddRemote(c.RootFS.DiffIDs[i], b); err != nil {
			return nil, err
		}
	}
	// It has no name here and is not listed; the images that are built on it keep what they need of it.
	id, err := m.Store.PutConfig(img.Config.Data, "", store.Step)
	if err != nil {
		return nil, err
	}
	return m.Store.Config(id)
}

// fetchLocal brings a blob from an OCI layout into the store.
func (m *Mover) fetchLocal(ctx context.Context, dir string, desc ocispec.Descriptor) error {
	f, err := openLayout(dir, desc)
	if err != nil {
		return err
	}
	defer f.Close()
	in, err := m.Store.Ingest(ctx, desc.Digest, desc.Size)
	if err != nil {
		return err
	}
	defer in.Close()
	if _, err := f.Seek(in.Offset(), io.SeekStart); err != nil {
		return err
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{in}, struct{ io.Reader }{f}, make([]byte, 1<<20)); err != nil {
		return err
	}
	if err := in.Commit(); err != nil {
		return err
	}
	return m.noteHere(desc)
}
