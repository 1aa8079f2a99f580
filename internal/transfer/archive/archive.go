// Package archive reads and writes images as files: `docker save` archives, OCI image layouts in a tar or a
// directory. It knows nothing of the store; an archive is a list of images whose layers can be opened.
//
// Formats: OCI image-spec, image-layout.md; docker-archive is described in moby's image/spec/v1.2.md. What
// strata writes for docker is both at once, as Docker 25 and later do: blobs/sha256/ and index.json, and a
// manifest.json that points into it, which every Docker since 1.10 reads.
package archive

import (
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// Limits for what an archive may ask to be held in memory.
const (
	MaxManifest = 4 << 20 // bytes, of index.json, manifest.json and manifests
	MaxConfig   = 8 << 20 // bytes
	maxMembers  = 1 << 20 // files in a tar
	maxImages   = 10_000
	maxNesting  = 3 // indexes in indexes
)

// ErrFormat: what was opened is neither of the formats, or is damaged.
var ErrFormat = errors.New("not an image archive")

// Image is one image of an archive.
type Image struct {
	// Names are the names that the archive gives the image, as they stand there: "debian:12",
	// "docker.io/library/debian:12". Often none.
	Names []string
	// Manifest is the image's manifest; nil where the archive has none (docker-archive).
	Manifest *registry.Blob
	Config   []byte // its digest is the image ID
	Layers   []Layer
}

// Layer is one layer of an image, bottom first.
type Layer struct {
	// Desc describes the bytes that Open gives. In a docker-archive, Digest is empty where these are
	// compressed, since only the diffID is known then.
	Desc   ocispec.Descriptor
	DiffID digest.Digest // of the uncompressed tar; whoever unpacks the layer has to check it
	// Open returns the layer's bytes as the archive has them. Where Desc has a digest, bytes that do not
	// match it give a *registry.DigestError in the place of io.EOF.
	Open func() (io.ReadCloser, error)
}

// Source is an image to write.
type Source struct {
	Names  []string // "debian:12" or longer; names without a tag get "latest"
	Config []byte
	Layers []LayerSource // bottom first
	// Manifest is the manifest to write, for an image that was pulled; all layers need their Desc then. Nil
	// makes one of Config and Layers.
	Manifest *registry.Blob
	// Annotations are those of the manifest's descriptor.
	Annotations map[string]string
}

// LayerSource is a layer to write.
type LayerSource struct {
	DiffID digest.Digest
	Size   int64 // of the uncompressed tar, in bytes
	// Desc describes a compressed blob that is written instead of the uncompressed tar. The zero value means
	// that Open gives the tar.
	Desc ocispec.Descriptor
	Open func() (io.ReadCloser, error)
}

// source is where an archive's files come from. Names are clean, relative and slash-separated.
type source interface {
	// open returns a file and its size; errors.Is(err, fs.ErrNotExist) where there is none.
	open(name string) (io.ReadCloser, int64, error)
	close() error
}

// Reader is an open archive.
type Reader struct {
	files  source
	images []Image
}

// Images returns the archive's images, in its order.
func (r *Reader) Images() []Image { return r.images }

// Close closes the archive; its layers cannot be read any more.
func (r *Reader) Close() error { return r.files.close() }

// readFile reads a small file whole.
func readFile(files source, name string, limit int64) ([]byte, error) {
	f, size, err := files.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > limit {
		return nil, fmt.Errorf("%s is %d bytes large, more than the %d that are allowed: %w", name, size, limit, ErrFormat)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s is larger than the %d bytes that are allowed: %w", name, limit, ErrFormat)
	}
	return data, err
}

// blobName is a blob's place in a layout.
func blobName(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("digest %q: %w: %w", d, err, ErrFormat)
	}
	return "blobs/" + d.Algorithm().String() + "/" + d.Encoded(), nil
}

// readBlob reads a small blob and checks it.
func readBlob(files source, desc ocispec.Descriptor, limit int64) ([]byte, error) {
	name, err := blobName(desc.Digest)
	if err != nil {
		return nil, err
	}
	data, err := readFile(files, name, limit)
	if err != nil {
		return nil, missing(err, name)
	}
	if got := desc.Digest.Algorithm().FromBytes(data); got != desc.Digest {
		return nil, fmt.Errorf("%s: %w", name, &registry.DigestError{Want: desc.Digest, Got: got})
	}
	return data, nil
}

// checked is a blob that is compared with its digest while it is read.
type checked struct {
	io.ReadCloser
	name string
	want digest.Digest
	sum  *layer.DigestReader
}

func newChecked(r io.ReadCloser, name string, want digest.Digest) io.ReadCloser {
	return &checked{ReadCloser: r, name: name, want: want, sum: layer.NewDigestReader(r)}
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.sum.Read(p)
	if err == io.EOF {
		if got := c.sum.Digest(); got != c.want {
			return n, fmt.Errorf("%s: %w", c.name, &registry.DigestError{Want: c.want, Got: got})
		}
	}
	return n, err
}
