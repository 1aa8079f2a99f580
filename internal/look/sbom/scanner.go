package sbom

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/attest"
	"github.com/strata-build/strata/internal/look/anatomy"
	"github.com/strata-build/strata/internal/look/packages"
	"github.com/strata-build/strata/internal/transfer"
)

// Scanner makes the bills of materials that a build attests of its images (attest.Scanner).
type Scanner struct{ Version string }

// Name says all that decides what Bill gives of an image.
func (s Scanner) Name() string { return "spdx 2.3 by " + s.Version }

// Bill is the SPDX document of an image of the store, which was made at a time. unread are lists of packages that could
// not be read, as sentences.
func (s Scanner) Bill(ctx context.Context, m *transfer.Mover, id digest.Digest, made time.Time) (bill transfer.Attestation, unread []string, err error) {
	im, err := anatomy.Open(ctx, m, id.String())
	if err != nil {
		return bill, nil, err
	}
	defer im.Close()
	im.Text = id.String() // names are the statement's subjects, and the same image has one document
	inv, err := packages.Of(ctx, im)
	if err != nil {
		return bill, nil, err
	}
	for i := range inv.Unread {
		unread = append(unread, inv.Unread[i].String())
	}
	data, err := json.Marshal(SPDX(inv, About{Version: s.Version, Created: made}))
	if err != nil {
		return bill, nil, fmt.Errorf("writing the bill of materials: %w", err)
	}
	return transfer.Attestation{Type: attest.SPDXType, Predicate: data}, unread, nil
}
