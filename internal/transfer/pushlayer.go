package transfer

import (
	"context"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store"
)

// PushLayer brings a layer that is on this machine into ref's repository, in the form in which a push that wants this
// Packing sends it, before there is an image with it. That push then finds it there. Base is that of no layer here: it
// counts as one that was built.
func (m *Mover) PushLayer(ctx context.Context, ref reference.Named, diffID digest.Digest, want Packing) error {
	p, err := m.newPush(ref, []digest.Digest{diffID})
	if err != nil {
		return err
	}
	p.want, p.want.Base = want, 0
	var sent []store.Blob
	_, sent, err = p.send(ctx, func(ctx context.Context) (*parcel, error) {
		b, err := p.choose(ctx, 0)
		return &parcel{blobs: []store.Blob{b}}, err
	})
	if err != nil {
		return err
	}
	return p.noteBlobs(sent, "")
}
