package exec

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/sandbox/inparts"
	"github.com/strata-build/strata/internal/store"
)

// inParts are the layers of the state that a step starts from of which only parts are fetched, as the step reads
// them. Where that cannot be, for whatever reason, a layer is not among them, and is fetched whole.
func (t *trees) inParts(ctx context.Context, step *Step) map[digest.Digest]*store.LazyLayer {
	if !t.lazy {
		return nil
	}
	return inparts.Find(ctx, t.store, step.On.Chain())
}

// servedOf says which layers are served: those that are observed, and those in parts.
func servedOf(step *Step, lazy map[digest.Digest]*store.LazyLayer) []bool {
	if len(lazy) == 0 {
		return step.Observe
	}
	serve := make([]bool, len(step.On.Chain()))
	copy(serve, step.Observe)
	for i, d := range step.On.Chain() {
		serve[i] = serve[i] || lazy[d] != nil
	}
	return serve
}

// instead says how a step runs again that could not be served what it reads.
func instead(step *Step, lazy bool) string {
	if lazy && !step.isObserved() {
		return "on layers that are fetched whole"
	}
	return "without being observed"
}
