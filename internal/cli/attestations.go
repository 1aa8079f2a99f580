package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/builder/attest"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// shownAttestation is an element of what inspect --attestations prints.
type shownAttestation struct {
	Image    string `json:"image"`
	Platform string `json:"platform,omitempty"`
	// Manifest is the digest of the image's manifest; "" for an image of the store, which may get another.
	Manifest      digest.Digest   `json:"manifest,omitempty"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

// runInspectAttestations prints what is attested of images: those of the store, or else of their registries.
func (a *app) runInspectAttestations(ctx context.Context, names []string, f *inspectFlags) error {
	all := []any{}
	for _, name := range names {
		shown, err := a.attestationsHere(name, f.only)
		if errors.Is(err, store.ErrNotFound) {
			shown, err = a.attestationsThere(ctx, name, f.only, err)
		}
		if err != nil {
			return err
		}
		for _, s := range shown {
			all = append(all, s)
		}
		if len(shown) == 0 {
			fmt.Fprintf(a.stderr, "strata: nothing is attested of %s; build it with --provenance=mode=max\n", printable(name))
		}
	}
	return a.printInspected(all, f.format)
}

func (a *app) attestationsHere(name string, only *ocispec.Platform) ([]shownAttestation, error) {
	c, err := a.findOnly(name, only)
	if err != nil {
		return nil, err
	}
	found, err := transfer.Attestations(a.store, c.ID)
	if err != nil {
		return nil, err
	}
	config, err := image.Parse(c.Data)
	if err != nil {
		return nil, err
	}
	var shown []shownAttestation
	for _, one := range found {
		shown = append(shown, shownAttestation{
			Image: name, Platform: platform.Format(config.Platform), PredicateType: one.Type, Predicate: one.Predicate,
		})
	}
	return shown, nil
}

// attestationsThere asks the registry of a name that the store does not know, as notHere says.
func (a *app) attestationsThere(ctx context.Context, name string, only *ocispec.Platform, notHere error) ([]shownAttestation, error) {
	ref, err := registry.ParseName(name)
	if err != nil {
		return nil, notHere
	}
	client, err := a.registry()
	if err != nil {
		return nil, err
	}
	ref = reference.TagNameOnly(ref)
	m, err := client.Manifest(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("%w; its registry was asked too: %w", notHere, err)
	}
	found, err := transfer.ReadAttested(ctx, client, ref, m)
	if err != nil {
		return nil, err
	}
	var shown []shownAttestation
	for _, img := range found {
		if only != nil && !platform.Same(img.Platform, *only) {
			continue
		}
		for _, s := range img.Statements {
			shown = append(shown, shownAttestation{
				Image: name, Platform: platform.Format(img.Platform), Manifest: img.Manifest, PredicateType: s.PredicateType, Predicate: s.Predicate,
			})
		}
	}
	return shown, nil
}

// attested reads what templates for imagetools inspect can name of attestations: .Provenance.SLSA, .SBOM.SPDX and
// .SBOM.AdditionalSPDXs, or those of a platform (docker/buildx, util/imagetools).
func (d *imageDescription) attested(ctx context.Context, c *registry.Client, ref reference.Named, m registry.Blob) error {
	found, err := transfer.ReadAttested(ctx, c, ref, m)
	if err != nil {
		return err
	}
	provenance, sbom := map[string]any{}, map[string]any{}
	for _, img := range found {
		for _, s := range img.Statements {
			switch s.PredicateType {
			case attest.ProvenanceType, attest.ProvenanceV02Type:
				provenance[platform.Format(img.Platform)] = map[string]any{"SLSA": decoded(s.Predicate)}
			case attest.SPDXType:
				addSPDX(sbom, platform.Format(img.Platform), decoded(s.Predicate))
			}
		}
	}
	d.Provenance, d.SBOM = soleOf(provenance), soleOf(sbom)
	return nil
}

// addSPDX adds a bill of materials to those of a platform: the first is the image's, others are of stages and the context.
func addSPDX(sbom map[string]any, platform string, document any) {
	of, ok := sbom[platform].(map[string]any)
	if !ok {
		sbom[platform] = map[string]any{"SPDX": document}
		return
	}
	more, _ := of["AdditionalSPDXs"].([]any)
	of["AdditionalSPDXs"] = append(more, document)
}

// decoded is a document as templates walk it.
func decoded(data json.RawMessage) any {
	var v any
	if json.Unmarshal(data, &v) != nil {
		return nil
	}
	return v
}

// soleOf is the value of a map that has one, and else the map.
func soleOf(m map[string]any) map[string]any {
	if len(m) != 1 {
		return m
	}
	for _, v := range m {
		return v.(map[string]any)
	}
	return nil
}
