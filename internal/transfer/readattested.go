package transfer

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/transfer/registry"
)

// Attested is what is attested of an image in a registry.
type Attested struct {
	Manifest   digest.Digest // the image's
	Platform   ocispec.Platform
	Statements []Statement
}

// What an attestation may ask to be held in memory.
const (
	maxStatement  = 64 << 20 // bytes; an SBOM of 10,000 packages takes some 10 MB
	maxStatements = 64       // of an image
)

// ReadAttested reads what is attested of the images of an index, in its order. An index without attestations, and a
// manifest, has none. Digests are checked; that a statement is about the image that it stands beside, and who made
// it, is not: nothing is signed.
func ReadAttested(ctx context.Context, c *registry.Client, ref reference.Named, m registry.Blob) ([]Attested, error) {
	if registry.IsManifest(m.MediaType) {
		return nil, nil
	}
	var index ocispec.Index
	if err := json.Unmarshal(m.Data, &index); err != nil {
		return nil, fmt.Errorf("%s: reading the index: %w", reference.FamiliarString(ref), err)
	}
	platforms := map[digest.Digest]ocispec.Platform{}
	for _, entry := range index.Manifests {
		if entry.Platform != nil {
			platforms[entry.Digest] = *entry.Platform
		}
	}
	var all []Attested
	for _, entry := range index.Manifests {
		img, ok := IsAttestation(entry)
		if !ok {
			continue
		}
		child, err := reference.WithDigest(reference.TrimNamed(ref), entry.Digest)
		if err != nil {
			return nil, err
		}
		a := Attested{Manifest: img, Platform: platforms[img]}
		if a.Statements, err = readStatements(ctx, c, child); err != nil {
			return nil, fmt.Errorf("%s: reading what is attested of it: %w", reference.FamiliarString(ref), err)
		}
		all = append(all, a)
	}
	return all, nil
}

func readStatements(ctx context.Context, c *registry.Client, ref reference.Named) ([]Statement, error) {
	blob, err := c.Manifest(ctx, ref)
	if err != nil {
		return nil, err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(blob.Data, &m); err != nil {
		return nil, err
	}
	if len(m.Layers) > maxStatements {
		return nil, fmt.Errorf("there are %d attestations, more than the %d that are read", len(m.Layers), maxStatements)
	}
	var all []Statement
	for _, desc := range m.Layers {
		if desc.MediaType != InTotoJSON {
			continue // others are to be ignored (attestation-storage.md)
		}
		data, err := c.Small(ctx, ref, desc, maxStatement)
		if err != nil {
			return nil, err
		}
		var s Statement
		if err := json.Unmarshal(data, &s); err != nil {
			return nil, fmt.Errorf("attestation %s: %w", desc.Digest, err)
		}
		all = append(all, s)
	}
	return all, nil
}
