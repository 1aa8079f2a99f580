package archive

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/strata-build/strata/internal/transfer/registry"
	"golang.org/x/sys/unix"
)

// Layout is an OCI image layout in a directory, of which only what is asked for is read: an image's manifest and
// config, and no layer before it is opened. No symlink in it leads out of it.
type Layout struct {
	dir   string
	files dirSource
}

// OpenLayout opens the layout in dir. Nothing of it is read yet.
func OpenLayout(dir string) (*Layout, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &Layout{dir: dir, files: dirSource{root}}, nil
}

// Close closes the directory; files that are open stay so.
func (l *Layout) Close() error { return l.files.close() }

// Index reads index.json.
func (l *Layout) Index() (*ocispec.Index, error) {
	data, err := readFile(l.files, ocispec.ImageIndexFile, MaxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s has no index.json: %w (%w)", l.dir, ErrFormat, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.dir, err)
	}
	index, err := parseIndex(data)
	if err != nil {
		return nil, fmt.Errorf("%s: index.json: %w", l.dir, err)
	}
	return index, nil
}

func parseIndex(data []byte) (*ocispec.Index, error) {
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrFormat)
	}
	if len(index.Manifests) > maxImages {
		return nil, fmt.Errorf("more than %d images: %w", maxImages, ErrFormat)
	}
	return &index, nil
}

// Find returns the digest of the entry of index.json that has a name or tag, or of the only one, as BuildKit does
// (client/ociindex, Get and GetSingle).
func (l *Layout) Find(tag string) (digest.Digest, error) {
	index, err := l.Index()
	if err != nil {
		return "", err
	}
	found, err := findTag(index.Manifests, tag)
	if err == nil {
		_, err = blobName(found)
	}
	if err != nil {
		return "", fmt.Errorf("%s: index.json: %w", l.dir, err)
	}
	return found, nil
}

func findTag(entries []ocispec.Descriptor, tag string) (digest.Digest, error) {
	for _, key := range []string{containerdName, ocispec.AnnotationRefName} {
		for _, d := range entries {
			if d.Annotations[key] == tag {
				return d.Digest, nil
			}
		}
	}
	images := slices.DeleteFunc(slices.Clone(entries), func(d ocispec.Descriptor) bool { return d.Annotations[registry.ReferenceType] != "" })
	if len(images) == 1 {
		return images[0].Digest, nil
	}
	var have []string
	for _, d := range images {
		if name := cmp.Or(d.Annotations[containerdName], d.Annotations[ocispec.AnnotationRefName]); name != "" && len(have) < 10 {
			have = append(have, printable(name))
		}
	}
	if len(have) == 0 {
		return "", fmt.Errorf("no image is called %q, and the %d that are there have no names; give a digest, @sha256:…", tag, len(images))
	}
	return "", fmt.Errorf("no image is called %q; there are %s", tag, strings.Join(have, ", "))
}

// Image reads the manifest with a digest and the config; where the digest is an index's, those for the platform.
func (l *Layout) Image(d digest.Digest, platform ocispec.Platform) (*registry.Image, error) {
	img, err := l.image(d, platform)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.dir, err)
	}
	return img, nil
}

func (l *Layout) image(d digest.Digest, platform ocispec.Platform) (*registry.Image, error) {
	img := &registry.Image{}
	for depth := 0; ; depth++ {
		data, err := readBlob(l.files, ocispec.Descriptor{Digest: d}, MaxManifest)
		if err != nil {
			return nil, err
		}
		m, err := parseManifest(data)
		if err != nil {
			return nil, fmt.Errorf("manifest %s: %w", d, err)
		}
		blob := registry.Blob{MediaType: m.MediaType, Digest: d, Data: data}
		if m.Manifests == nil {
			img.Manifest = blob
			return img, l.fill(img, m)
		}
		if depth == maxNesting {
			return nil, fmt.Errorf("indexes are nested more than %d deep: %w", maxNesting, ErrFormat)
		}
		if img.Index == nil {
			img.Index = &blob
		}
		entry, err := registry.Choose(m.Manifests, platform)
		if err != nil {
			return nil, err
		}
		d = entry.Digest
	}
}

// document is a manifest or an index.
type document struct {
	ocispec.Manifest
	Manifests []ocispec.Descriptor `json:"manifests"`
}

// parseManifest reads a manifest or an index. What could be taken for both is refused: two readers could see two
// images in it (CVE-2021-41190).
func parseManifest(data []byte) (*document, error) {
	var m document
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrFormat)
	}
	isManifest := m.Config.Digest != "" || m.Layers != nil
	switch {
	case isManifest == (m.Manifests != nil):
		return nil, fmt.Errorf("neither a manifest nor an index: %w", ErrFormat)
	case m.MediaType == "" && isManifest:
		m.MediaType = ocispec.MediaTypeImageManifest
	case m.MediaType == "":
		m.MediaType = ocispec.MediaTypeImageIndex
	}
	if len(m.Manifests) > maxImages {
		return nil, fmt.Errorf("more than %d images: %w", maxImages, ErrFormat)
	}
	for _, d := range slices.Concat(m.Layers, m.Manifests) {
		if err := d.Digest.Validate(); err != nil || d.Size < 0 {
			return nil, fmt.Errorf("digest %q, size %d: %w", printable(d.Digest.String()), d.Size, ErrFormat)
		}
	}
	return &m, nil
}

// fill reads the config.
func (l *Layout) fill(img *registry.Image, m *document) error {
	data, err := readBlob(l.files, m.Config, MaxConfig)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	if _, err := parseConfig(data, len(m.Layers)); err != nil {
		return err
	}
	img.Config = registry.Blob{MediaType: m.Config.MediaType, Digest: m.Config.Digest, Data: data}
	img.Layers = m.Layers
	return nil
}

// Open opens a blob, whose digest is for the caller to check; its size is right.
func (l *Layout) Open(desc ocispec.Descriptor) (io.ReadSeekCloser, error) {
	name, err := blobName(desc.Digest)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.dir, err)
	}
	f, size, err := l.files.openFile(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.dir, missing(err, name))
	}
	if err := sizeError(desc, size); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", l.dir, err)
	}
	return f, nil
}

// OpenBlob opens a blob of the layout in dir, as Layout.Open does.
func OpenBlob(dir string, desc ocispec.Descriptor) (io.ReadSeekCloser, error) {
	l, err := OpenLayout(dir)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return l.Open(desc)
}

// Read reads a blob of at most limit bytes, and checks its size and its digest.
func (l *Layout) Read(desc ocispec.Descriptor, limit int64) ([]byte, error) {
	data, err := readBlob(l.files, desc, limit)
	if err == nil {
		err = sizeError(desc, int64(len(data)))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.dir, err)
	}
	return data, nil
}

// sizeError says that a blob has not the size that its descriptor says; nil if it has.
func sizeError(desc ocispec.Descriptor, size int64) error {
	if size == desc.Size {
		return nil
	}
	return fmt.Errorf("blob %s has %d bytes, not the %d of its descriptor: %w", desc.Digest, size, desc.Size, ErrFormat)
}

// openFile opens a regular file; another one is refused without waiting for whoever might be at its other end.
func (s dirSource) openFile(name string) (*os.File, int64, error) {
	f, err := s.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file: %w", name, ErrFormat)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, fi.Size(), nil
}
