package archive

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// WriteDocker writes images for `docker load`, as one tar that is also an OCI layout. The same images give the
// same bytes.
func WriteDocker(w io.Writer, images []Source) error {
	a := newWriter(w)
	if err := a.images(images); err != nil {
		return err
	}
	if err := a.dockerFiles(images); err != nil {
		return err
	}
	return a.finish()
}

// WriteOCI writes images as an OCI layout in a tar. The same images give the same bytes.
func WriteOCI(w io.Writer, images []Source) error {
	a := newWriter(w)
	if err := a.images(images); err != nil {
		return err
	}
	return a.finish()
}

// WriteOCIIndex writes the images of an index, which are for several platforms, as an OCI layout in a tar.
func WriteOCIIndex(w io.Writer, images []Source, index Index) error {
	a := newWriter(w)
	if err := a.layout(); err != nil {
		return err
	}
	if err := a.nested(images, index); err != nil {
		return err
	}
	return a.finish()
}

// Index is an index that is written with its images.
type Index struct {
	Blob        registry.Blob
	Names       []string
	Annotations map[string]string // of its descriptor
}

// files is where a layout's files go.
type files interface {
	// file writes a file of size bytes.
	file(name string, size int64, r io.Reader) error
	// directory makes a directory.
	directory(name string) error
	// index writes index.json.
	index(index ocispec.Index) error
	close() error
}

// writer writes a layout, each blob once.
type writer struct {
	to      files
	written map[digest.Digest]bool
	index   ocispec.Index
}

func newWriter(w io.Writer) *writer { return writerTo(tarFiles{tar.NewWriter(w)}) }

func writerTo(to files) *writer {
	return &writer{
		to:      to,
		written: make(map[digest.Digest]bool),
		index:   ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}},
	}
}

// layout writes what makes a layout of a folder.
func (a *writer) layout() error {
	layout, err := json.Marshal(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
	if err != nil {
		return err
	}
	if err := a.file(ocispec.ImageLayoutFile, layout); err != nil {
		return err
	}
	for _, dir := range []string{"blobs/", "blobs/sha256/"} {
		if err := a.to.directory(dir); err != nil {
			return err
		}
	}
	return nil
}

// images writes blobs and manifests; the index comes with finish.
func (a *writer) images(images []Source) error {
	if err := a.layout(); err != nil {
		return err
	}
	for _, img := range images {
		desc, err := a.image(img)
		if err == nil {
			err = a.enter(desc, img.Names)
		}
		if err != nil {
			return fmt.Errorf("writing the image %s: %w", digest.FromBytes(img.Config), err)
		}
	}
	return nil
}

// nested writes the images of an index, which alone is entered in index.json.
func (a *writer) nested(images []Source, index Index) error {
	for _, img := range images {
		if _, err := a.image(img); err != nil {
			return fmt.Errorf("writing the image %s: %w", digest.FromBytes(img.Config), err)
		}
	}
	if err := a.blob(index.Blob.Data); err != nil {
		return err
	}
	desc := index.Blob.Descriptor()
	desc.Annotations = index.Annotations
	return a.enter(desc, index.Names)
}

// image writes an image, and returns the descriptor of its manifest.
func (a *writer) image(img Source) (ocispec.Descriptor, error) {
	m, err := img.manifest()
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	for _, l := range img.Layers {
		if err := a.layer(l); err != nil {
			return ocispec.Descriptor{}, err
		}
	}
	if err := a.blob(img.Config); err != nil {
		return ocispec.Descriptor{}, err
	}
	desc := m.Descriptor()
	desc.Platform = platformOf(img.Config)
	desc.Annotations = img.Annotations
	return desc, a.blob(m.Data)
}

// enter adds a descriptor to index.json, once for each name: its tag is what skopeo looks for, the full name is
// containerd's, as BuildKit has it too (client/ociindex).
func (a *writer) enter(desc ocispec.Descriptor, names []string) error {
	if len(names) == 0 {
		a.index.Manifests = append(a.index.Manifests, desc)
	}
	own := desc.Annotations
	for _, name := range names {
		ref, err := parseTag(name)
		if err != nil {
			return err
		}
		desc.Annotations = map[string]string{containerdName: ref.String(), ocispec.AnnotationRefName: ref.Tag()}
		maps.Copy(desc.Annotations, own)
		a.index.Manifests = append(a.index.Manifests, desc)
	}
	return nil
}

// parseTag reads an image name, to which it adds "latest" where it has no tag.
func parseTag(name string) (reference.NamedTagged, error) {
	ref, err := registry.ParseName(name)
	if err != nil {
		return nil, err
	}
	tagged, ok := reference.TagNameOnly(ref).(reference.NamedTagged)
	if !ok {
		return nil, fmt.Errorf("%q: only names with a tag can be written to an archive", name)
	}
	return tagged, nil
}

func platformOf(config []byte) *ocispec.Platform {
	var p ocispec.Platform
	if json.Unmarshal(config, &p) != nil || p.OS == "" || p.Architecture == "" {
		return nil
	}
	return &p
}

// desc describes the bytes that the layer's Open gives.
func (l LayerSource) desc() ocispec.Descriptor {
	if l.Desc.Digest != "" {
		return l.Desc
	}
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: l.DiffID, Size: l.Size}
}

// manifest is the image's own manifest, or a new one. An own one has to be about the layers that are written.
func (s Source) manifest() (registry.Blob, error) {
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(s.Config), Size: int64(len(s.Config))},
		Layers:    []ocispec.Descriptor{},
	}
	for _, l := range s.Layers {
		m.Layers = append(m.Layers, l.desc())
	}
	if s.Manifest != nil {
		return *s.Manifest, sameBlobs(*s.Manifest, m)
	}
	data, err := json.Marshal(m)
	return registry.Blob{MediaType: m.MediaType, Digest: digest.FromBytes(data), Data: data}, err
}

func sameBlobs(own registry.Blob, want ocispec.Manifest) error {
	var m ocispec.Manifest
	if err := json.Unmarshal(own.Data, &m); err != nil {
		return fmt.Errorf("reading its manifest: %w", err)
	}
	same := m.Config.Digest == want.Config.Digest && len(m.Layers) == len(want.Layers)
	for i := 0; same && i < len(m.Layers); i++ {
		same = m.Layers[i].Digest == want.Layers[i].Digest
	}
	if !same {
		return errors.New("its manifest is about other blobs than those given")
	}
	return nil
}

func (a *writer) layer(l LayerSource) error {
	d := l.desc()
	if a.written[d.Digest] {
		return nil
	}
	a.written[d.Digest] = true
	name, err := blobName(d.Digest)
	if err != nil {
		return err
	}
	r, err := l.Open()
	if err != nil {
		return fmt.Errorf("opening the layer %s: %w", l.DiffID, err)
	}
	defer r.Close()
	err = a.to.file(name, d.Size, r)
	if errors.Is(err, errSize) {
		return fmt.Errorf("the layer %s has not the %d bytes that it should have", l.DiffID, d.Size)
	}
	if err != nil {
		return fmt.Errorf("copying the layer %s: %w", l.DiffID, err)
	}
	return nil
}

func (a *writer) blob(data []byte) error {
	d := digest.FromBytes(data)
	if a.written[d] {
		return nil
	}
	a.written[d] = true
	return a.file("blobs/sha256/"+d.Encoded(), data)
}

func (a *writer) file(name string, data []byte) error {
	return a.to.file(name, int64(len(data)), bytes.NewReader(data))
}

// errSize: a file has not as many bytes as were promised.
var errSize = errors.New("not the size that was promised")

// tarFiles writes a layout as a tar. The same files give the same bytes.
type tarFiles struct{ tar *tar.Writer }

func (t tarFiles) directory(name string) error {
	return t.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755, ModTime: time.Unix(0, 0)})
}

func (t tarFiles) file(name string, size int64, r io.Reader) error {
	err := t.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: time.Unix(0, 0)})
	if err != nil {
		return err
	}
	n, err := io.CopyBuffer(onlyWriter{t.tar}, r, make([]byte, 128<<10))
	if errors.Is(err, tar.ErrWriteTooLong) || err == nil && n != size {
		return errSize
	}
	return err
}

func (t tarFiles) index(index ocispec.Index) error {
	data, err := json.Marshal(index)
	if err != nil {
		return err
	}
	return t.file(ocispec.ImageIndexFile, int64(len(data)), bytes.NewReader(data))
}

func (t tarFiles) close() error { return t.tar.Close() }

// onlyWriter hides tar.Writer's ReadFrom, which is for sparse files.
type onlyWriter struct{ io.Writer }

// dockerFiles writes what makes a layout a docker-archive: manifest.json, and the repositories file of before
// Docker 1.10, which skopeo and others still look for.
func (a *writer) dockerFiles(images []Source) error {
	list := []dockerImage{}
	repositories := make(map[string]map[string]string)
	for _, img := range images {
		entry := dockerImage{Config: "blobs/sha256/" + digest.FromBytes(img.Config).Encoded(), Layers: []string{}}
		for _, l := range img.Layers {
			entry.Layers = append(entry.Layers, "blobs/sha256/"+l.desc().Digest.Encoded())
		}
		for _, name := range img.Names {
			ref, err := parseTag(name)
			if err != nil {
				return err
			}
			entry.RepoTags = append(entry.RepoTags, reference.FamiliarString(ref))
			if len(img.Layers) == 0 {
				continue
			}
			repo := reference.FamiliarName(ref)
			if repositories[repo] == nil {
				repositories[repo] = make(map[string]string)
			}
			repositories[repo][ref.Tag()] = img.Layers[len(img.Layers)-1].desc().Digest.Encoded()
		}
		list = append(list, entry)
	}
	if err := a.json("manifest.json", list); err != nil {
		return err
	}
	return a.json("repositories", repositories)
}

func (a *writer) json(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return a.file(name, data)
}

func (a *writer) finish() error {
	if err := a.to.index(a.index); err != nil {
		return err
	}
	return a.to.close()
}
