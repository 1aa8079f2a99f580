package archive

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/store/disk"
)

// WriteDirectory writes images as an OCI layout in a directory, where a layout may be already: what it has stays, but a
// name that the images have too is theirs then. index is that of images for several platforms, nil without one.
func WriteDirectory(dir string, images []Source, index *Index) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	a := writerTo(&directoryFiles{root})
	err = a.directory(images, index)
	return errors.Join(err, root.Close())
}

func (a *writer) directory(images []Source, index *Index) error {
	if index == nil {
		if err := a.images(images); err != nil {
			return err
		}
		return a.finish()
	}
	if err := a.layout(); err != nil {
		return err
	}
	if err := a.nested(images, *index); err != nil {
		return err
	}
	return a.finish()
}

// directoryFiles writes a layout into a directory. Each file gets its name when it is complete, index.json last.
type directoryFiles struct{ root *os.Root }

func (d *directoryFiles) directory(name string) error {
	return d.root.MkdirAll(filepath.Clean(name), 0o755)
}

func (d *directoryFiles) file(name string, size int64, r io.Reader) error {
	if st, err := d.root.Lstat(name); err == nil && st.Mode().IsRegular() && st.Size() == size && filepath.Dir(name) != "." {
		return nil // a blob, whose name says what is in it
	}
	dir, err := d.root.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	return disk.ReplaceIn(dir, filepath.Base(name), 0o644, func(f *os.File) error {
		n, err := io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{r}, make([]byte, 128<<10))
		if err == nil && n != size {
			err = errSize
		}
		return err
	})
}

// index enters the manifests beside those that the layout has under other names.
func (d *directoryFiles) index(index ocispec.Index) error {
	before, err := d.before()
	if err != nil {
		return err
	}
	for _, m := range before {
		if !slices.ContainsFunc(index.Manifests, func(n ocispec.Descriptor) bool { return replaces(n, m) }) {
			index.Manifests = append(index.Manifests, m)
		}
	}
	data, err := json.Marshal(index)
	if err != nil {
		return err
	}
	return d.file(ocispec.ImageIndexFile, int64(len(data)), bytes.NewReader(data))
}

// replaces says whether entry m of an index.json goes for n: both have one name, m has n's tag and no name of its own, or
// they are the same without one.
func replaces(n, m ocispec.Descriptor) bool {
	if name := m.Annotations[containerdName]; name != "" {
		return n.Annotations[containerdName] == name
	}
	if tag := m.Annotations[ocispec.AnnotationRefName]; tag != "" {
		return n.Annotations[ocispec.AnnotationRefName] == tag
	}
	return n.Digest == m.Digest
}

// before are the manifests of the layout that is there already.
func (d *directoryFiles) before() ([]ocispec.Descriptor, error) {
	f, err := d.root.Open(ocispec.ImageIndexFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxManifest))
	if err != nil {
		return nil, err
	}
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("reading the index.json that is there: %w; remove it, or name another directory", err)
	}
	return index.Manifests, nil
}

func (d *directoryFiles) close() error { return nil }
