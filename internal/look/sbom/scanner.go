package sbom

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/attest"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/look/anatomy"
	"github.com/strata-build/strata/internal/look/packages"
	"github.com/strata-build/strata/internal/transfer"
)

// Scanner makes the bills of materials that a build attests of its images (attest.Scanner).
type Scanner struct{ Version string }

// Name says all that decides what Bill gives of an image.
func (s Scanner) Name() string { return "spdx 2.3 by " + s.Version }

// Bill is the SPDX document of an image of the store. unread are lists of packages that could not be read, as sentences.
func (s Scanner) Bill(ctx context.Context, m *transfer.Mover, id digest.Digest, a attest.About) (bill transfer.Attestation, unread []string, err error) {
	im, err := anatomy.Open(ctx, m, id.String())
	if err != nil {
		return bill, nil, err
	}
	defer im.Close()
	im.Text = cmp.Or(a.Name, id.String()) // names are the statement's subjects, and the same image has one document
	inv, err := packages.Of(ctx, im)
	if err != nil {
		return bill, nil, err
	}
	return s.attestation(inv, a)
}

// BillOfFiles is the SPDX document of a build context.
func (s Scanner) BillOfFiles(ctx context.Context, files layer.Tree, a attest.About) (bill transfer.Attestation, unread []string, err error) {
	inv, err := packages.OfTree(ctx, a.Name, files)
	if err != nil {
		return bill, nil, err
	}
	return s.attestation(inv, a)
}

func (s Scanner) attestation(inv *packages.Inventory, a attest.About) (bill transfer.Attestation, unread []string, err error) {
	for i := range inv.Unread {
		unread = append(unread, inv.Unread[i].String())
	}
	data, err := json.Marshal(SPDX(inv, About{Version: s.Version, Created: a.Made}))
	if err != nil {
		return bill, nil, fmt.Errorf("writing the bill of materials: %w", err)
	}
	return transfer.Attestation{Type: attest.SPDXType, Predicate: data, Name: a.Name}, unread, nil
}
