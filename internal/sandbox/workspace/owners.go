package workspace

import (
	"context"
	"fmt"
	"os"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/identity"
)

// Owners is a ledger with the owners of what can have no note of it beside it, of the state below that is mounted at
// root; nil where owners are not noted. Of the layers that are observed, by their place in the chain, nothing is looked
// up.
func Owners(ctx context.Context, root string, below *layer.Stack, observed []bool) (*identity.Ledger, error) {
	if !identity.Current().Marked() {
		return nil, nil
	}
	dir, err := os.Open(root)
	if err != nil {
		return nil, fmt.Errorf("looking at the owners of links: %w", err)
	}
	defer dir.Close()
	ledger := identity.NewLedger()
	err = below.Walk(ctx, "", func(e *layer.Entry) error {
		owner := identity.Owner{UID: e.UID, GID: e.GID}
		if e.Type != layer.Symlink && e.Type != layer.Fifo || owner == (identity.Owner{}) {
			return nil
		}
		n, err := below.Layer(ctx, e.Path)
		if err != nil || n >= 0 && n < len(observed) && observed[n] {
			return err
		}
		return ledger.Note(int(dir.Fd()), e.Path, owner)
	})
	if err != nil {
		return nil, fmt.Errorf("looking at the owners of links: %w", err)
	}
	return ledger, nil
}
