package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/export"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer"
)

// attest adds to the images what is to be attested of them. parts are what they were built by.
func (b *build) attest(ctx context.Context, parts []*part, images []export.Image) error {
	for i, p := range parts {
		if b.Output.Attest.SBOM != nil && images[i].ID != "" {
			bill, err := b.bill(ctx, &images[i])
			if err != nil {
				return fmt.Errorf("making the SBOM: %w; leave out --sbom to build without it", err)
			}
			images[i].Attestations = append(images[i].Attestations, bill)
		}
		asked := b.Output.Attest.Provenance
		if asked == nil {
			continue
		}
		provenance := b.provenance(ctx, p.plan)
		if !asked.Max {
			provenance.Reduce()
		}
		a, err := provenance.Attestation()
		if err != nil {
			return err
		}
		a.Inline = asked.InlineOnly
		images[i].Attestations = append(images[i].Attestations, a)
	}
	return nil
}

// bill is the bill of materials of an image. It is kept by the image's ID, so that a build whose steps are all cached
// reads no layer for it.
func (b *build) bill(ctx context.Context, img *export.Image) (bill transfer.Attestation, err error) {
	scanner := b.Output.Attest.SBOM.Scanner
	made := image.Created(img.Config)
	if b.epoch != nil {
		made = *b.epoch
	}
	how := fmt.Sprintf("SBOM, %s, of %d", scanner.Name(), made.Unix())
	kept, err := b.store.Derived(img.ID, how)
	if err == nil && digest.FromBytes(kept.Data) == kept.Digest && json.Unmarshal(kept.Data, &bill) == nil {
		return bill, nil
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return bill, err
	}
	p := b.beginPhase("read packages of " + img.ID.String())
	bill, unread, err := scanner.Bill(ctx, b.mover, img.ID, made)
	p.end(err)
	if err != nil {
		return bill, err
	}
	for _, line := range unread {
		b.events.Send(event.Warning{Text: "the SBOM is not complete: " + line})
	}
	data, err := json.Marshal(bill)
	if err != nil {
		return bill, err
	}
	return bill, b.store.PutDerived(img.ID, how, store.Derived{Digest: digest.FromBytes(data), Data: data})
}
