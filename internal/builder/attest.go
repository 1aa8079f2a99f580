package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/attest"
	"github.com/strata-build/strata/internal/builder/dockerfile"
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
			bills, err := b.bills(ctx, p, &images[i])
			if err != nil {
				return fmt.Errorf("making the SBOM: %w; leave out --sbom to build without it", err)
			}
			images[i].Attestations = append(images[i].Attestations, bills...)
		}
		asked := b.Output.Attest.Provenance
		if asked == nil {
			continue
		}
		provenance := b.provenance(ctx, p.plan, asked)
		if !asked.Max {
			provenance.Reduce()
		}
		write := provenance.Attestation
		if asked.V02 {
			write = provenance.AttestationV02
		}
		a, err := write()
		if err != nil {
			return err
		}
		a.Inline = asked.InlineOnly
		images[i].Attestations = append(images[i].Attestations, a)
	}
	return nil
}

// metadata is the provenance of the images for a file of metadata, in their order, if it is asked for.
func (b *build) metadata(ctx context.Context, parts []*part) (all []json.RawMessage, err error) {
	asked := b.Output.Attest.Metadata
	if asked == nil {
		return nil, nil
	}
	for _, p := range parts {
		data, err := b.provenance(ctx, p.plan, asked).Metadata(asked.Max)
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

// bills are the bills of materials of an image, of those stages of its plan that are to be scanned, too, and of the context
// (dockerfile.ScanStage, ScanContext).
func (b *build) bills(ctx context.Context, p *part, img *export.Image) ([]transfer.Attestation, error) {
	about := attest.About{Made: image.Created(img.Config)}
	if b.epoch != nil {
		about.Made = *b.epoch
	}
	bill, err := b.bill(ctx, img.ID, about)
	if err != nil {
		return nil, err
	}
	all := []transfer.Attestation{bill}
	for _, stage := range p.plan.Stages {
		state := p.solver.End(stage)
		if stage == p.plan.Target || state == nil || state.ID == "" || !stage.Scans(dockerfile.ScanStage) {
			continue
		}
		about.Name = attest.ExtraSBOM + stage.StageName()
		if bill, err = b.bill(ctx, state.ID, about); err != nil {
			return nil, fmt.Errorf("stage %s: %w", stage.StageName(), err)
		}
		all = append(all, bill)
	}
	if p.plan.Target.Scans(dockerfile.ScanContext) {
		about.Name = attest.ExtraSBOM + "context"
		bill, err = b.scan("the context", func() (transfer.Attestation, []string, error) {
			return b.Output.Attest.SBOM.Scanner.BillOfFiles(ctx, b.input.context, about)
		})
		if err != nil {
			return nil, fmt.Errorf("the context: %w", err)
		}
		all = append(all, bill)
	}
	return all, nil
}

// bill is the bill of materials of an image or of the state of a stage. It is kept by the ID, so that a build whose steps
// are all cached reads no layer for it.
func (b *build) bill(ctx context.Context, id digest.Digest, about attest.About) (bill transfer.Attestation, err error) {
	scanner := b.Output.Attest.SBOM.Scanner
	how := fmt.Sprintf("SBOM, %s, of %d", scanner.Name(), about.Made.Unix())
	if about.Name != "" {
		how += ", " + about.Name
	}
	kept, err := b.store.Derived(id, how)
	if err == nil && digest.FromBytes(kept.Data) == kept.Digest && json.Unmarshal(kept.Data, &bill) == nil {
		return bill, nil
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return bill, err
	}
	bill, err = b.scan(id.String(), func() (transfer.Attestation, []string, error) {
		return scanner.Bill(ctx, b.mover, id, about)
	})
	if err != nil {
		return bill, err
	}
	data, err := json.Marshal(bill)
	if err != nil {
		return bill, err
	}
	return bill, b.store.PutDerived(id, how, store.Derived{Digest: digest.FromBytes(data), Data: data})
}

// scan shows the reading of packages as a part of the build, and says what of them could not be read.
func (b *build) scan(what string, read func() (transfer.Attestation, []string, error)) (transfer.Attestation, error) {
	p := b.beginPhase("read packages of " + what)
	bill, unread, err := read()
	p.end(err)
	for _, line := range unread {
		b.events.Send(event.Warning{Text: "the SBOM is not complete: " + line})
	}
	return bill, err
}
