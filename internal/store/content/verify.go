package content

import (
	"context"
	"errors"
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

// Usable says whether a blob is here and has its digest. A damaged one is taken out of the store: another form of its
// layer will do, or a repository has it. A process reads a blob once for it, and not at all where it has just written
// it (PlaceBlob).
func (c *Content) Usable(ctx context.Context, d digest.Digest) (bool, error) {
	if !c.HasBlob(d) {
		return false, nil
	}
	if _, known := c.verified.Load(d); known {
		return true, nil
	}
	damage, err := c.Verify(ctx, d)
	if err != nil {
		return false, err
	}
	if damage != nil {
		return false, c.Drop(d)
	}
	c.verified.Store(d, true)
	return true, nil
}

// Doubt has Usable read a blob again that this process has verified or written.
func (c *Content) Doubt(d digest.Digest) { c.verified.Delete(d) }

// Drop takes a blob that is here out of the store: first its row, then its file.
func (c *Content) Drop(d digest.Digest) error {
	if _, err := c.db.Exec("DELETE FROM blobs WHERE digest = ? AND repository = ''", d); err != nil {
		return fmt.Errorf("setting aside blob %s: %w", d, c.db.Explain(err))
	}
	trash, err := c.session.Trash()
	if err != nil {
		return err
	}
	return errors.Join(trash.Take(c.BlobPath(d)), trash.Close())
}
