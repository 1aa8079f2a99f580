package archive

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/strata-build/strata/internal/registry"
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

// writer writes a layout, each blob once.
type writer struct {
	tar     *tar.Writer
	written map[digest.Digest]bool
	index   ocispec.Index
}

func newWriter(w io.Writer) *writer {
	return &writer{
		tar:     tar.NewWriter(w),
		written: make(map[digest.Digest]bool),
		index:   ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}},
	}
}

// images writes blobs and manifests; the index comes with finish.
func (a *writer) images(images []Source) error {
	layout, err := json.Marshal(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
	if err != nil {
		return err
	}
	if err := a.file(ocispec.ImageLayoutFile, layout); err != nil {
		return err
	}
	for _, dir := range []string{"blobs/", "blobs/sha256/"} {
		if err := a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: time.Unix(0, 0)}); err != nil {
			return err
		}
	}
	for _, img := range images {
		if err := a.image(img); err != nil {
			return fmt.Errorf("writing the image %s: %w", digest.FromBytes(img.Config), err)
		}
	}
	return nil
}

func (a *writer) image(img Source) error {
	m, err := img.manifest()
	if err != nil {
		return err
	}
	for _, l := range img.Layers {
		if err := a.layer(l); err != nil {
			return err
		}
	}
	if err := a.blob(img.Config); err != nil {
		return err
	}
	if err := a.blob(m.Data); err != nil {
		return err
	}
	desc := m.Descriptor()
	desc.Platform = platformOf(img.Config)
	if len(img.Names) == 0 {
		a.index.Manifests = append(a.index.Manifests, desc)
	}
	for _, name := range img.Names {
		ref, err := parseTag(name)
		if err != nil {
			return err
		}
		desc.Annotations = map[string]string{containerdName: ref.String(), ocispec.AnnotationRefName: ref.String()}
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
	if err := a.header(name, d.Size); err != nil {
		return err
	}
	n, err := io.CopyBuffer(onlyWriter{a.tar}, r, make([]byte, 128<<10))
	if errors.Is(err, tar.ErrWriteTooLong) || err == nil && n != d.Size {
		return fmt.Errorf("the layer %s has not the %d bytes that it should have", l.DiffID, d.Size)
	}
	if err != nil {
		return fmt.Errorf("copying the layer %s: %w", l.DiffID, err)
	}
	return nil
}

// onlyWriter hides tar.Writer's ReadFrom, which is for sparse files.
type onlyWriter struct{ io.Writer }

func (a *writer) blob(data []byte) error {
	d := digest.FromBytes(data)
	if a.written[d] {
		return nil
	}
	a.written[d] = true
	return a.file("blobs/sha256/"+d.Encoded(), data)
}

func (a *writer) file(name string, data []byte) error {
	if err := a.header(name, int64(len(data))); err != nil {
		return err
	}
	_, err := io.Copy(a.tar, bytes.NewReader(data))
	return err
}

func (a *writer) header(name string, size int64) error {
	return a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: time.Unix(0, 0)})
}

// dockerFiles writes what makes a layout a docker-archive: manifest.json, and the repositories file of before
// Docker 1.10, which skopeo and others still look for.
func (a *writer) dockerFiles(images []Source) error {
	list := []dockerImage{}
	repositories := make(map[string]map[string]string)
	for _, img := range images {
		entry := dockerImage{Config: "blobs/sha256/" + digest.FromBytes(img.Config).Encoded(), RepoTags: []string{}, Layers: []string{}}
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
	if err := a.json(ocispec.ImageIndexFile, a.index); err != nil {
		return err
	}
	return a.tar.Close()
}
