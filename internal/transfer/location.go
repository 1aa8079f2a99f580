package transfer

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/store"
)

// The store knows where the blob of a layer can be had: in a repository of a registry ("docker.io/library/python"), or at a
// location "scheme:rest". A location without "/" would parse as a repository's name with a tag, "bucket:x" as
// docker.io/library/bucket:x, so that the schemes are tried first.

// BlobSource opens blobs at the locations of one scheme.
type BlobSource struct {
	Scheme string
	// Open opens a blob from a byte on. location is what follows "scheme:"; the digest is for the caller to check.
	Open func(ctx context.Context, location string, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error)
}

// at finds the source of a location; false where it is a repository's name.
func (m *Mover) at(location string) (BlobSource, string, bool) {
	scheme, rest, ok := strings.Cut(location, ":")
	if !ok {
		return BlobSource{}, "", false
	}
	if scheme == layoutSource.Scheme {
		return layoutSource, rest, true
	}
	for _, s := range m.sources {
		if s.Scheme == scheme {
			return s, rest, true
		}
	}
	return BlobSource{}, "", false
}

// repository parses the name of a repository; an error where it is a location of a source.
func (m *Mover) repository(location string) (reference.Named, error) {
	if source, _, ok := m.at(location); ok {
		return nil, fmt.Errorf("%q is no repository: the source of %q addresses opens it", location, source.Scheme)
	}
	ref, err := reference.ParseNormalizedNamed(location)
	if err != nil {
		return nil, fmt.Errorf("the store names the repository %q: %w", location, err)
	}
	return ref, nil
}

// IsOfMachine says that only this machine can open a location: a directory, or a registry on its loopback.
func IsOfMachine(location string) bool {
	scheme, _, ok := strings.Cut(location, ":")
	if ok && scheme == layoutSource.Scheme {
		return true
	}
	host, _, _ := strings.Cut(location, "/")
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	address, err := netip.ParseAddr(name)
	return name == "localhost" || err == nil && address.IsLoopback()
}

// NoteAt notes that the layer diffID is known, and that its compressed form desc can be had at a location.
func (m *Mover) NoteAt(diffID digest.Digest, desc ocispec.Descriptor, location string) error {
	return m.Store.AddRemote(diffID, store.Blob{Digest: desc.Digest, Size: desc.Size, MediaType: desc.MediaType, Repository: location})
}

// openAt opens a blob where it is.
func (m *Mover) openAt(ctx context.Context, b store.Blob) (io.ReadCloser, error) {
	if source, rest, ok := m.at(b.Repository); ok {
		return source.Open(ctx, rest, b.Descriptor(), 0)
	}
	ref, err := m.repository(b.Repository)
	if err != nil {
		return nil, err
	}
	return m.Registry.Open(ctx, ref, b.Descriptor(), 0)
}

// Fetch brings the compressed layer desc from a location into the store, and unpacks it while it comes where that can be.
// diffID is the layer's; "" leaves it as a blob.
func (m *Mover) Fetch(ctx context.Context, location string, desc ocispec.Descriptor, diffID digest.Digest) error {
	if source, rest, ok := m.at(location); ok {
		return m.fetchFrom(ctx, source, rest, desc)
	}
	ref, err := m.repository(location)
	if err != nil {
		return err
	}
	if diffID == "" {
		return m.fetch(ctx, ref, desc)
	}
	return m.fetchLayer(ctx, ref, desc, diffID)
}

// fetchFrom brings a blob from a location that is no registry into the store.
func (m *Mover) fetchFrom(ctx context.Context, source BlobSource, location string, desc ocispec.Descriptor) error {
	in, err := m.Store.Ingest(ctx, desc.Digest, desc.Size)
	if err != nil {
		return err
	}
	defer in.Close()
	r, err := source.Open(ctx, location, desc, in.Offset())
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := io.CopyBuffer(struct{ io.Writer }{in}, struct{ io.Reader }{r}, make([]byte, 1<<20)); err != nil {
		return err
	}
	if err := in.Commit(); err != nil {
		return err
	}
	return m.noteHere(desc)
}
