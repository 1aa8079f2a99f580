package chunked

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A SOCI index is an artifact beside an image that has a zTOC for each of its large layers, as layers of its own
// (github.com/awslabs/soci-snapshotter, soci/soci_index.go). Of version 2 the image's manifest has the digest. One of
// version 1 refers to the image, and can be pushed by whoever may push to the repository.
const (
	sociIndex    = "com.amazon.soci.index-digest"          // of an image's manifest
	sociManifest = "com.amazon.soci.image-manifest-digest" // the image's
	sociLayer    = "com.amazon.soci.image-layer-digest"    // of a zTOC's descriptor: the blob that it is of

	sociVersion1 = "application/vnd.amazon.soci.index.v1+json"
	sociVersion2 = "application/vnd.amazon.soci.index.v2+json"
	ztocType     = "application/octet-stream"
)

// Repository is the one in which a blob is, for those whose tables are beside it.
type Repository interface {
	// Manifest reads a manifest, which has the digest.
	Manifest(ctx context.Context, d digest.Digest) ([]byte, error)
	// Small reads a blob of no more than limit bytes, which has its digest.
	Small(ctx context.Context, desc ocispec.Descriptor, limit int64) ([]byte, error)
	// Referrers lists the artifacts of a type that refer to a manifest.
	Referrers(ctx context.Context, subject digest.Digest, artifactType string) ([]ocispec.Descriptor, error)
}

// Image is that of a layer, as far as it says how parts of the layer can be read.
type Image struct {
	// Annotations are those of its manifest.
	Annotations map[string]string
	// Manifest is the digest of its manifest, if indexes count that refer to it; "" if not.
	Manifest digest.Digest
}

// Attached says that annotations are of an index that counts because it refers to the image: see Image.
func Attached(annotations map[string]string) bool { return annotations[sociManifest] != "" }

// soci are the annotations by which the SOCI index of a layer's image is found; nil if there is none.
func (img *Image) soci(layer digest.Digest) map[string]string {
	if d, err := digest.Parse(img.Annotations[sociIndex]); err == nil {
		return map[string]string{sociIndex: d.String(), sociLayer: layer.String()}
	}
	if img.Manifest != "" {
		return map[string]string{sociManifest: img.Manifest.String(), sociLayer: layer.String()}
	}
	return nil
}

// sociTable is a zTOC in a SOCI index. Either the index's digest is known, or which manifest it refers to.
type sociTable struct{ index, manifest, layer digest.Digest }

func sociOf(annotations map[string]string) format {
	layer, err := digest.Parse(annotations[sociLayer])
	if err != nil {
		return nil
	}
	if d, err := digest.Parse(annotations[sociIndex]); err == nil {
		return sociTable{index: d, layer: layer}
	}
	if d, err := digest.Parse(annotations[sociManifest]); err == nil {
		return sociTable{manifest: d, layer: layer}
	}
	return nil
}

// What fetch keeps begins with the length of the index in four bytes; then come the index and the zTOC.
const lengthSize = 4

// find is the digest of the index. Which one refers to the image its registry says.
func (f sociTable) find(ctx context.Context, beside Repository) (digest.Digest, error) {
	if f.index != "" {
		return f.index, nil
	}
	all, err := beside.Referrers(ctx, f.manifest, sociVersion1)
	if err != nil {
		return "", err
	}
	if len(all) == 0 {
		return "", fmt.Errorf("%w: %w", ErrUnreadable, errWithdrawn)
	}
	return all[0].Digest, nil // as the SOCI snapshotter chooses
}

var errWithdrawn = errors.New("no SOCI index refers to the image")

func (f sociTable) current(ctx context.Context, kept []byte, beside Repository) bool {
	index, err := f.find(ctx, beside)
	if err != nil {
		return !errors.Is(err, errWithdrawn)
	}
	text, _, err := split(kept)
	return err == nil && index.Validate() == nil && index.Algorithm().FromBytes(text) == index
}

// split parts what fetch keeps into the index and the zTOC.
func split(kept []byte) (index, table []byte, err error) {
	if len(kept) < lengthSize || int64(binary.BigEndian.Uint32(kept)) > int64(len(kept)-lengthSize) {
		return nil, nil, fmt.Errorf("%w: %d bytes are left of it", ErrUnreadable, len(kept))
	}
	n := lengthSize + binary.BigEndian.Uint32(kept)
	return kept[lengthSize:n], kept[n:], nil
}

func (f sociTable) fetch(ctx context.Context, from *Source) ([]byte, error) {
	index, err := f.find(ctx, from.Beside)
	if err != nil {
		return nil, err
	}
	text, err := from.Beside.Manifest(ctx, index)
	if err != nil {
		return nil, err
	}
	desc, err := f.ztoc(text)
	if err != nil {
		return nil, err
	}
	table, err := from.Beside.Small(ctx, desc, maxTable)
	if err != nil {
		return nil, err
	}
	kept := binary.BigEndian.AppendUint32(nil, uint32(len(text)))
	kept = append(append(kept, text...), table...)
	_, err = f.open(ctx, kept, from.Size)
	return kept, err
}

func (f sociTable) name(kept []byte) string {
	if f.index != "" {
		return "SOCI index " + f.index.String()
	}
	text, _, _ := split(kept) // which open has read
	return "attached SOCI index " + digest.FromBytes(text).String()
}

// ztoc finds the layer's zTOC in an index.
func (f sociTable) ztoc(index []byte) (ocispec.Descriptor, error) {
	var m ocispec.Manifest
	if err := json.Unmarshal(index, &m); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("%w: the SOCI index: %w", ErrUnreadable, err)
	}
	if kind := m.Config.MediaType; kind != sociVersion1 && kind != sociVersion2 {
		return ocispec.Descriptor{}, fmt.Errorf("%w: what should be a SOCI index has a config of the type %q", ErrUnreadable, kind)
	}
	if f.index == "" && (m.Subject == nil || m.Subject.Digest != f.manifest) {
		return ocispec.Descriptor{}, fmt.Errorf("%w: the SOCI index is not that of the image %s", ErrUnreadable, f.manifest)
	}
	for _, desc := range m.Layers {
		if desc.MediaType == ztocType && desc.Annotations[sociLayer] == f.layer.String() {
			if desc.Digest.Validate() != nil || desc.Size <= 0 || desc.Size > maxTable {
				return ocispec.Descriptor{}, fmt.Errorf("%w: the SOCI index has a zTOC %q of %d bytes", ErrUnreadable, desc.Digest, desc.Size)
			}
			return desc, nil
		}
	}
	return ocispec.Descriptor{}, fmt.Errorf("%w: the SOCI index has no zTOC of it", ErrUnreadable)
}

func (f sociTable) open(ctx context.Context, kept []byte, size int64) (*Index, error) {
	text, table, err := split(kept)
	if err != nil {
		return nil, err
	}
	if f.index != "" {
		if got := f.index.Algorithm().FromBytes(text); got != f.index {
			return nil, fmt.Errorf("%w: the SOCI index has %s, and the image's manifest says %s", ErrUnreadable, got, f.index)
		}
	}
	desc, err := f.ztoc(text)
	if err != nil {
		return nil, err
	}
	if got := desc.Digest.Algorithm().FromBytes(table); got != desc.Digest {
		return nil, fmt.Errorf("%w: the zTOC has %s, and the SOCI index says %s", ErrUnreadable, got, desc.Digest)
	}
	return parseZTOC(ctx, table, size)
}

// Remembered is a Repository that is asked once for a manifest, and for what refers to one: all layers of an image have
// one index.
func Remembered(r Repository) Repository {
	return &remembered{Repository: r, manifests: map[digest.Digest][]byte{}, referrers: map[string][]ocispec.Descriptor{}}
}

type remembered struct {
	Repository
	mu        sync.Mutex // while it asks, too
	manifests map[digest.Digest][]byte
	referrers map[string][]ocispec.Descriptor
}

func (r *remembered) Manifest(ctx context.Context, d digest.Digest) ([]byte, error) {
	return once(&r.mu, r.manifests, d, func() ([]byte, error) { return r.Repository.Manifest(ctx, d) })
}

func (r *remembered) Referrers(ctx context.Context, subject digest.Digest, artifactType string) ([]ocispec.Descriptor, error) {
	return once(&r.mu, r.referrers, subject.String()+" "+artifactType, func() ([]ocispec.Descriptor, error) {
		return r.Repository.Referrers(ctx, subject, artifactType)
	})
}

// once is what is known under a key, or what ask says, unless that is an error.
func once[K comparable, V any](mu *sync.Mutex, known map[K]V, key K, ask func() (V, error)) (V, error) {
	mu.Lock()
	defer mu.Unlock()
	if v, ok := known[key]; ok {
		return v, nil
	}
	v, err := ask()
	if err == nil {
		known[key] = v
	}
	return v, err
}
