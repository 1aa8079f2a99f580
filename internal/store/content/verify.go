package content

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store/disk"
)

// Verify compares a blob that is here with its digest; damage is what is wrong with it, nil if nothing is.
// The error is this machine's, or that ctx ended, and says nothing of the blob.
func (c *Content) Verify(ctx context.Context, d digest.Digest) (damage, err error) {
	f, err := c.OpenBlob(d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	got, err := disk.Sum(ctx, f)
	switch {
	case err != nil && (ctx.Err() != nil || disk.IsLocal(err)):
		return nil, err
	case err != nil:
		return err, nil
	case got != d:
		return fmt.Errorf("blob %s has the digest %s", d, got), nil
	}
	return nil, nil
}
