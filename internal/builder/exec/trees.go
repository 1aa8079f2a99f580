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

// of are those layers of a state as directories that a chain lists, the topmost first, and the attributes of the state's root.
func (t *trees) of(ctx context.Context, state State, chain []digest.Digest) ([]string, workspace.Attributes, error) {
	below, err := state.Stack()
	if err != nil {
		return nil, workspace.Attributes{}, err
	}
	lowers, err := t.store.Lowers(ctx, chain)
	if err != nil {
		return nil, workspace.Attributes{}, err
	}
	t.chains, t.lowers = append(t.chains, chain), append(t.lowers, lowers)
	root, err := below.Lookup(ctx, "")
	if err != nil {
		return nil, workspace.Attributes{}, err
	}
	return lowers.Dirs, workspace.OfRoot(root), nil
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
		if _, err := t.store.Trees(ctx, chain); err != nil {
			return err
		}
	}
	return nil
}
