package content

import (
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store/disk"
)

// Verify compares a blob that is here with its digest; damage is what is wrong with it, nil if nothing is.
// The error is this machine's, and says nothing of the blob.
func (c *Content) Verify(d digest.Digest) (damage, err error) {
	f, err := c.OpenBlob(d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := digest.SHA256.Digester()
	if _, err := io.CopyBuffer(h.Hash(), struct{ io.Reader }{f}, make([]byte, 1<<18)); err != nil {
		if disk.IsLocal(err) {
			return nil, err
		}
		return err, nil
	}
	if got := h.Digest(); got != d {
		return fmt.Errorf("blob %s has the digest %s", d, got), nil
	}
	return nil, nil
}
