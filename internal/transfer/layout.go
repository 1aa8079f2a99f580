package transfer

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
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
func openLayout(dir string, desc ocispec.Descriptor) (*os.File, error) {
	if err := desc.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("%s: digest %q: %w", dir, desc.Digest, err)
	}
	f, err := os.Open(layoutBlob(dir, desc.Digest))
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && (!st.Mode().IsRegular() || st.Size() != desc.Size) {
		err = fmt.Errorf("%s: blob %s has %d bytes, where %d are promised", dir, desc.Digest, st.Size(), desc.Size)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
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
