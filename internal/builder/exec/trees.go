package exec

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/sandbox/workspace"
	"github.com/strata-build/strata/internal/store"
)

// trees are the layers that one execution of a RUN is mounted on and shown. While the container is made, the store sees
// whether somebody has written to them. The process starts only if nobody has (runner.Hooks.Gate): what it does with
// cache mounts and with the network could not be taken back.
type trees struct {
	store  *store.Store
	chains [][]digest.Digest
	lowers []*store.Lowers
	lazy   bool // layers that are elsewhere may be served in parts
}

// of are the layers of a state, the topmost first, and the attributes of the state's root. Those that are served, by
// their place in the chain, are empty.
func (t *trees) of(ctx context.Context, state State, served []bool) ([]store.Lower, workspace.Attributes, error) {
	below, err := state.Stack()
	if err != nil {
		return nil, workspace.Attributes{}, err
	}
	chain := state.Chain()
	lowers, err := t.store.Lowers(ctx, chain, served)
	if err != nil {
		return nil, workspace.Attributes{}, err
	}
	plain, _ := split(chain, served)
	t.chains, t.lowers = append(t.chains, plain), append(t.lowers, lowers)
	root, err := below.Lookup(ctx, "")
	if err != nil {
		return nil, workspace.Attributes{}, err
	}
	return lowers.All, workspace.OfRoot(root), nil
}

// trusted waits until all of them were looked at: store.ErrUnsealed where mend has to be called, and all to be mounted
// again.
func (t *trees) trusted(ctx context.Context) error {
	for _, l := range t.lowers {
		if err := l.Trusted(ctx); err != nil {
			return err
		}
	}
	return nil
}

// mend verifies them, and makes those again that are damaged.
func (t *trees) mend(ctx context.Context) error {
	for _, chain := range t.chains {
		if err := t.store.Mend(ctx, chain); err != nil {
			return err
		}
	}
	return nil
}
