package directory

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/store/disk"
	"github.com/strata-build/strata/internal/transfer/archive"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// layout is a directory that blobs are written to. It is a transfer.BlobTarget.
type layout string

func makeLayout(dir string) (layout, error) {
	return layout(dir), os.MkdirAll(filepath.Join(dir, ocispec.ImageBlobsDir, "sha256"), 0o755)
}

// lock waits until nobody else writes the index, and takes its lock: that which BuildKit takes too. On a file system
// without locks there is none, and two that write at once may remove each other's blobs.
func (l layout) lock(ctx context.Context) (unlock func(), err error) {
	unlock, err = disk.AwaitLock(ctx, filepath.Join(string(l), ocispec.ImageIndexFile+".lock"))
	if errors.Is(err, unix.ENOLCK) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return func() {}, nil
	}
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("waiting for the others who write to %s: %w", string(l), err)
	}
	return unlock, err
}

// Has says whether the layout has a blob, by its size.
func (l layout) Has(_ context.Context, desc ocispec.Descriptor) (bool, error) {
	f, err := archive.OpenBlob(string(l), desc)
	if err != nil {
		return false, nil // it is written, or that fails and says why
	}
	return true, f.Close()
}

// Write writes a blob under another name and renames it once it is complete.
func (l layout) Write(_ context.Context, desc ocispec.Descriptor, r io.Reader) error {
	return replaceFile(blobPath(string(l), desc.Digest), func(f *os.File) error {
		_, err := io.CopyBuffer(f, r, make([]byte, 1<<18))
		return err
	})
}

// put writes a small blob unless it is there.
func (l layout) put(ctx context.Context, b registry.Blob) error {
	if has, err := l.Has(ctx, b.Descriptor()); err != nil || has {
		return err
	}
	return l.Write(ctx, b.Descriptor(), bytes.NewReader(b.Data))
}

func blobPath(dir string, d digest.Digest) string {
	return filepath.Join(dir, ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// replaceFile writes a file that anybody may read, whatever the umask: others read the cache too.
func replaceFile(path string, write func(*os.File) error) error {
	return disk.Replace(path, 0o644, func(f *os.File) error {
		return errors.Join(f.Chmod(0o644), write(f))
	})
}

// readIndex reads index.json.
func readIndex(dir string) (*ocispec.Index, error) {
	l, err := archive.OpenLayout(dir)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return l.Index()
}

// enterIndex puts the manifest desc into the index of a layout in the place of those that old says, beside what else it names.
// It returns those that were there.
func enterIndex(dir string, desc ocispec.Descriptor, old func(ocispec.Descriptor) bool) (replaced []ocispec.Descriptor, err error) {
	index, err := readIndex(dir)
	if errors.Is(err, fs.ErrNotExist) {
		index, err = &ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}, nil
	}
	if err != nil {
		return nil, err
	}
	for _, m := range index.Manifests {
		if old(m) {
			replaced = append(replaced, m)
		}
	}
	index.Manifests = append(slices.DeleteFunc(index.Manifests, old), desc)
	for _, file := range []struct {
		name string
		v    any
	}{
		{ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}},
		{ocispec.ImageIndexFile, index},
	} {
		err := replaceFile(filepath.Join(dir, file.name), func(f *os.File) error { return json.NewEncoder(f).Encode(file.v) })
		if err != nil {
			return nil, err
		}
	}
	return replaced, nil
}
