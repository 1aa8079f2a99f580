package transfer

import (
	"context"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer/archive"
)

// layoutSource opens blobs of directories with an OCI layout: "oci-layout:/path".
var layoutSource = BlobSource{Scheme: "oci-layout", Open: openLayoutAt}

// LayoutLocation is where the blobs of the OCI layout in a directory can be had. dir is absolute.
func LayoutLocation(dir string) string { return layoutSource.Scheme + ":" + dir }

func openLayoutAt(_ context.Context, dir string, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	f, err := archive.OpenBlob(dir, desc)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
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
		if err := m.NoteAt(c.RootFS.DiffIDs[i], desc, LayoutLocation(dir)); err != nil {
			return nil, err
		}
		m.Store.AddClaim(c.RootFS.DiffIDs[i], store.Claim{Blob: desc.Digest})
	}
	// It has no name here and is not listed; the images that are built on it keep what they need of it.
	id, err := m.Store.PutConfig(img.Config.Data, "", store.Step)
	if err != nil {
		return nil, err
	}
	return m.Store.Config(id)
}
