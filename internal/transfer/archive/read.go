package archive

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// containerdName is the annotation of index.json that names an image: containerd's and Docker's, with the whole name.
const containerdName = "io.containerd.image.name"

// errNoImage is of an archive whose index names nothing.
var errNoImage = fmt.Errorf("%w: its index names no image; make it again", ErrFormat)

// newReader lists the images of an archive. An archive that is both formats is read as OCI, which keeps the
// manifests; manifest.json then only adds names.
func newReader(files source, what string) (*Reader, error) {
	r := &Reader{files: files}
	err := r.read()
	if err == nil && len(r.images) == 0 {
		err = errNoImage
	}
	if err != nil {
		files.close()
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return r, nil
}

func (r *Reader) read() error {
	index, ociErr := readFile(r.files, ocispec.ImageIndexFile, MaxManifest)
	docker, dockerErr := readFile(r.files, "manifest.json", MaxManifest)
	for _, err := range []error{ociErr, dockerErr} {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	switch {
	case ociErr != nil && dockerErr != nil:
		return errNoIndex
	case ociErr != nil:
		return r.readDocker(docker)
	}
	var list ocispec.Index
	if err := json.Unmarshal(index, &list); err != nil {
		return fmt.Errorf("reading index.json: %w: %w", err, ErrFormat)
	}
	if err := r.readIndex(list, nil, 0); err != nil {
		return err
	}
	if dockerErr == nil {
		return r.addDockerNames(docker)
	}
	return nil
}

// readIndex adds the images of an index; names are those of the index itself.
func (r *Reader) readIndex(list ocispec.Index, names []string, depth int) error {
	if depth == maxNesting {
		return fmt.Errorf("indexes are nested more than %d deep: %w", maxNesting, ErrFormat)
	}
	for _, d := range list.Manifests {
		if d.Annotations[registry.ReferenceType] != "" {
			continue
		}
		if len(r.images) == maxImages {
			return fmt.Errorf("more than %d images: %w", maxImages, ErrFormat)
		}
		data, err := readBlob(r.files, d, MaxManifest)
		if errors.Is(err, fs.ErrNotExist) && depth > 0 {
			continue // an index for many platforms of which the archive holds some
		}
		if err != nil {
			return err
		}
		own := append(slices.Clone(names), annotatedNames(d.Annotations)...)
		if d.MediaType == ocispec.MediaTypeImageIndex || strings.HasSuffix(d.MediaType, ".manifest.list.v2+json") {
			var nested ocispec.Index
			if err := json.Unmarshal(data, &nested); err != nil {
				return fmt.Errorf("reading the index %s: %w: %w", d.Digest, err, ErrFormat)
			}
			if err := r.readIndex(nested, own, depth+1); err != nil {
				return err
			}
			continue
		}
		if err := r.addManifest(d, data, own); err != nil {
			return fmt.Errorf("manifest %s: %w", d.Digest, err)
		}
	}
	return nil
}

// annotatedNames returns the names that an index entry gives. org.opencontainers.image.ref.name may be a tag
// alone, which names nothing.
func annotatedNames(annotations map[string]string) []string {
	if name := annotations[containerdName]; name != "" {
		return []string{name}
	}
	if name := annotations[ocispec.AnnotationRefName]; strings.ContainsAny(name, ":/") {
		return []string{name}
	}
	return nil
}

// addManifest adds an image, or another name of one that is there already.
func (r *Reader) addManifest(d ocispec.Descriptor, data []byte, names []string) error {
	for i := range r.images {
		if r.images[i].Manifest.Digest == d.Digest {
			r.addNames(i, names)
			return nil
		}
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return fmt.Errorf("%w: %w", err, ErrFormat)
	}
	config, diffIDs, err := r.readConfig(m.Config, len(m.Layers))
	if err != nil {
		return err
	}
	kind := d.MediaType
	if kind == "" {
		kind = ocispec.MediaTypeImageManifest
	}
	img := Image{Manifest: &registry.Blob{MediaType: kind, Digest: d.Digest, Data: data}, Config: config}
	for i, l := range m.Layers {
		added, err := r.layer(l, diffIDs[i])
		if err != nil {
			return fmt.Errorf("layer %d: %w", i+1, err)
		}
		img.Layers = append(img.Layers, added)
	}
	r.images = append(r.images, img)
	r.addNames(len(r.images)-1, names)
	return nil
}

func (r *Reader) addNames(image int, names []string) {
	for _, n := range names {
		if !slices.Contains(r.images[image].Names, n) {
			r.images[image].Names = append(r.images[image].Names, n)
		}
	}
}

// readConfig reads an OCI image's config and its diffIDs, of which there have to be as many as layers.
func (r *Reader) readConfig(d ocispec.Descriptor, layers int) ([]byte, []digest.Digest, error) {
	data, err := readBlob(r.files, d, MaxConfig)
	if err != nil {
		return nil, nil, fmt.Errorf("config: %w", err)
	}
	diffIDs, err := parseConfig(data, layers)
	return data, diffIDs, err
}

func parseConfig(data []byte, layers int) ([]digest.Digest, error) {
	var config ocispec.Image
	if err := json.Unmarshal(data, &config); err != nil {
		return nil, fmt.Errorf("reading the config: %w: %w", err, ErrFormat)
	}
	diffIDs := config.RootFS.DiffIDs
	if len(diffIDs) != layers {
		return nil, fmt.Errorf("the config describes %d layers, and %d are listed: %w", len(diffIDs), layers, ErrFormat)
	}
	for _, d := range diffIDs {
		if err := d.Validate(); err != nil {
			return nil, fmt.Errorf("diffID %q: %w: %w", d, err, ErrFormat)
		}
	}
	return diffIDs, nil
}

// layer is a layer of an OCI image. It has to be there with the size that the manifest says; its bytes are
// checked when they are read.
func (r *Reader) layer(d ocispec.Descriptor, diffID digest.Digest) (Layer, error) {
	name, err := blobName(d.Digest)
	if err != nil {
		return Layer{}, err
	}
	f, size, err := r.files.open(name)
	if err != nil {
		return Layer{}, missing(err, name)
	}
	f.Close()
	if size != d.Size {
		return Layer{}, fmt.Errorf("%s has %d bytes, where the manifest says %d: %w", name, size, d.Size, ErrFormat)
	}
	return Layer{Desc: d, DiffID: diffID, Open: func() (io.ReadCloser, error) {
		f, _, err := r.files.open(name)
		if err != nil {
			return nil, err
		}
		return newChecked(f, name, d.Digest), nil
	}}, nil
}

// missing says that a file that something refers to is not in the archive.
func missing(err error, name string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is missing from the archive: %w (%w)", printable(name), ErrFormat, fs.ErrNotExist)
	}
	return err
}

// dockerImage is an entry of manifest.json.
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func parseDocker(data []byte) ([]dockerImage, error) {
	var list []dockerImage
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("reading manifest.json: %w: %w", err, ErrFormat)
	}
	if len(list) > maxImages {
		return nil, fmt.Errorf("more than %d images: %w", maxImages, ErrFormat)
	}
	return list, nil
}

// addDockerNames takes the names of manifest.json over for images that the index has. Docker writes both;
// where they say the same, in the short and the long form, the short one stays.
func (r *Reader) addDockerNames(data []byte) error {
	list, err := parseDocker(data)
	if err != nil {
		return err
	}
	for _, entry := range list {
		hex := strings.TrimSuffix(path.Base(entry.Config), ".json")
		for i, img := range r.images {
			if digest.FromBytes(img.Config).Encoded() == hex && len(entry.RepoTags) > 0 {
				r.images[i].Names = nil
				r.addNames(i, entry.RepoTags)
			}
		}
	}
	return nil
}

// readDocker lists the images of a docker-archive.
func (r *Reader) readDocker(data []byte) error {
	list, err := parseDocker(data)
	if err != nil {
		return err
	}
	for _, entry := range list {
		img, err := r.dockerImage(entry)
		if err != nil {
			return fmt.Errorf("image %s: %w", printable(entry.Config), err)
		}
		r.images = append(r.images, img)
	}
	return nil
}

func (r *Reader) dockerImage(entry dockerImage) (Image, error) {
	name, err := memberName(entry.Config)
	if err != nil {
		return Image{}, err
	}
	config, err := readFile(r.files, name, MaxConfig)
	if err != nil {
		return Image{}, missing(err, name)
	}
	// The file is named for the image ID, which is the config's digest.
	want := digest.NewDigestFromEncoded(digest.SHA256, strings.TrimSuffix(path.Base(name), ".json"))
	if got := digest.FromBytes(config); want.Validate() == nil && got != want {
		return Image{}, fmt.Errorf("%s: %w", name, &registry.DigestError{Want: want, Got: got})
	}
	diffIDs, err := parseConfig(config, len(entry.Layers))
	if err != nil {
		return Image{}, err
	}
	img := Image{Config: config}
	img.Names = append(img.Names, entry.RepoTags...) // nil where there are none, whichever way that is written
	for i, file := range entry.Layers {
		added, err := r.dockerLayer(file, diffIDs[i])
		if err != nil {
			return Image{}, fmt.Errorf("layer %d: %w", i+1, err)
		}
		img.Layers = append(img.Layers, added)
	}
	return img, nil
}

// dockerLayer is a layer of a docker-archive. Docker writes plain tars, whose digest is the diffID; other
// tools compress them.
func (r *Reader) dockerLayer(file string, diffID digest.Digest) (Layer, error) {
	name, err := memberName(file)
	if err != nil {
		return Layer{}, err
	}
	f, size, err := r.files.open(name)
	if err != nil {
		return Layer{}, missing(err, name)
	}
	defer f.Close()
	head := make([]byte, layer.DetectLen)
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return Layer{}, err
	}
	plain := layer.Detect(head[:n]) == layer.None
	l := Layer{DiffID: diffID, Desc: ocispec.Descriptor{Size: size}}
	if plain {
		l.Desc.MediaType, l.Desc.Digest = ocispec.MediaTypeImageLayer, diffID
	}
	l.Open = func() (io.ReadCloser, error) {
		f, _, err := r.files.open(name)
		if err != nil || !plain {
			return f, err
		}
		return newChecked(f, name, diffID), nil
	}
	return l, nil
}
