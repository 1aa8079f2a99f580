package transfer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer/archive"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// Attestation is what an in-toto statement says of an image. The statement's subject is the image's manifest, so it is
// made when that is known.
type Attestation struct {
	// Type is the predicate's, a URI: "https://slsa.dev/provenance/v1".
	Type      string          `json:"type"`
	Predicate json.RawMessage `json:"predicate"`
	// Name tells one of several of a type from the others: sbom-build; "" is the first, which is of the image itself.
	Name string `json:"name,omitempty"`
	// Inline says that it goes with images only, and not beside files.
	Inline bool `json:"inline,omitempty"`
}

// Media types and annotations by which an attestation is found
// (github.com/moby/buildkit, docs/attestations/attestation-storage.md).
const (
	inTotoStatement = "https://in-toto.io/Statement/v1"
	InTotoJSON      = "application/vnd.in-toto+json"
	PredicateType   = "in-toto.io/predicate-type"
	attestationType = "attestation-manifest"
)

// Statement is an in-toto statement (github.com/in-toto/attestation, spec/v1/statement.md; v0.1 has the same fields).
type Statement struct {
	Type          string          `json:"_type"`
	PredicateType string          `json:"predicateType"`
	Subject       []Subject       `json:"subject"`
	Predicate     json.RawMessage `json:"predicate"`
}

// Subject is what a statement is about: a name, and digests by their algorithms.
type Subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// NewStatement is the statement that subjects are as the attestation says.
func NewStatement(a Attestation, subjects []Subject) Statement {
	return Statement{Type: inTotoStatement, PredicateType: a.Type, Subject: subjects, Predicate: a.Predicate}
}

// PackageURL is the package URL of an image (github.com/package-url/purl-spec, docker), as BuildKit writes it:
// "pkg:docker/me/app@latest?platform=linux%2Famd64".
func PackageURL(ref reference.Named, p ocispec.Platform) string {
	text := "pkg:docker/" + reference.FamiliarName(ref)
	if tagged, ok := reference.TagNameOnly(ref).(reference.Tagged); ok {
		text += "@" + url.QueryEscape(tagged.Tag())
	}
	query := url.Values{}
	if digested, ok := ref.(reference.Digested); ok {
		query.Set("digest", digested.Digest().String())
	}
	if p.OS != "" {
		query.Set("platform", platform.Format(p))
	}
	if len(query) == 0 {
		return text
	}
	return text + "?" + query.Encode()
}

// attested is the manifest of an image's attestations, with what it names.
type attested struct {
	manifest   registry.Blob
	config     registry.Blob
	statements []registry.Blob
	image      digest.Digest // the manifest that it is about
}

// attest makes the statements about an image and their manifest.
func attest(manifest digest.Digest, item *Item, names []reference.Named) (*attested, error) {
	subjects := []Subject{{Name: "_", Digest: DigestSet(manifest)}} // BuildKit's name for an image without one
	if len(names) > 0 {
		subjects = nil
	}
	for _, ref := range names {
		subjects = append(subjects, Subject{PackageURL(ref, item.Platform), DigestSet(manifest)})
	}
	a := &attested{image: manifest}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	config := ocispec.Image{Platform: ocispec.Platform{Architecture: "unknown", OS: "unknown"}, RootFS: ocispec.RootFS{Type: "layers"}}
	for _, one := range item.Attestations {
		data, err := json.MarshalIndent(NewStatement(one, subjects), "", "  ")
		if err != nil {
			return nil, fmt.Errorf("making the attestation %s: %w", one.Type, err)
		}
		b := registry.Blob{MediaType: InTotoJSON, Digest: digest.FromBytes(data), Data: data}
		desc := b.Descriptor()
		desc.Annotations = map[string]string{PredicateType: one.Type}
		m.Layers = append(m.Layers, desc)
		a.statements = append(a.statements, b)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, b.Digest)
	}
	var err error
	if a.config, err = marshalBlob(ocispec.MediaTypeImageConfig, config); err != nil {
		return nil, err
	}
	m.Config = a.config.Descriptor()
	a.manifest, err = marshalBlob(m.MediaType, m)
	return a, err
}

func marshalBlob(mediaType string, v any) (registry.Blob, error) {
	data, err := json.MarshalIndent(v, "", "  ")
	return registry.Blob{MediaType: mediaType, Digest: digest.FromBytes(data), Data: data}, err
}

// DigestSet is a digest as statements have it, by its algorithm (github.com/in-toto/attestation, spec/v1/digest_set.md).
func DigestSet(d digest.Digest) map[string]string {
	return map[string]string{d.Algorithm().String(): d.Encoded()}
}

// descriptor is the entry of the attestations in the image's index.
func (a *attested) descriptor() ocispec.Descriptor {
	desc := a.manifest.Descriptor()
	desc.Platform = &ocispec.Platform{Architecture: "unknown", OS: "unknown"}
	desc.Annotations = map[string]string{registry.ReferenceType: attestationType, registry.ReferenceDigest: a.image.String()}
	return desc
}

// uploads are the blobs that the manifest needs.
func (a *attested) uploads() []registry.Upload {
	var all []registry.Upload
	for _, b := range append([]registry.Blob{a.config}, a.statements...) {
		all = append(all, registry.Upload{Desc: b.Descriptor(), Open: opener(b.Data)})
	}
	return all
}

// source is the attestations as an archive has them.
func (a *attested) source() archive.Source {
	src := archive.Source{Config: a.config.Data, Manifest: &a.manifest}
	for _, b := range a.statements {
		src.Layers = append(src.Layers, archive.LayerSource{DiffID: b.Digest, Size: int64(len(b.Data)), Desc: b.Descriptor(), Open: opener(b.Data)})
	}
	return src
}

func opener(data []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}

// IsAttestation says that an index's entry is no image but what is attested of one, and which manifest that is.
func IsAttestation(d ocispec.Descriptor) (image digest.Digest, ok bool) {
	return digest.Digest(d.Annotations[registry.ReferenceDigest]), d.Annotations[registry.ReferenceType] == attestationType
}

// attestedAs is how the store remembers what is attested of an image.
const attestedAs = "attestations"

// SetAttestations remembers what is attested of an image of the store, in the place of what was before.
func (m *Mover) SetAttestations(id digest.Digest, all []Attestation) error {
	if len(all) == 0 {
		return m.Store.RemoveDerived(id, attestedAs)
	}
	data, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("keeping the attestations of %s: %w", id, err)
	}
	return m.Store.PutDerived(id, attestedAs, store.Derived{Digest: digest.FromBytes(data), Data: data})
}

// Attestations are those of an image of the store; none is nil.
func Attestations(s *store.Store, id digest.Digest) ([]Attestation, error) {
	kept, err := s.Derived(id, attestedAs)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Attestation
	if err := json.Unmarshal(kept.Data, &all); err != nil || digest.FromBytes(kept.Data) != kept.Digest {
		return nil, fmt.Errorf("the attestations of %s are damaged; build the image again with --provenance or --sbom", id)
	}
	return all, nil
}
