package solver

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/local"
)

// What a COPY --from selects follows from the layers of the state that it copies from and from what
// is written. It is recorded under a key of these, so that a build whose stages are all hits reads
// none of their layers, and fetches none.

// selectionKey is that of what the sources of a COPY select in a state.
func (s *Solver) selectionKey(from *State, c *dockerfile.Copy) *cache.Key {
	key := &cache.Key{Kind: cache.KindSelection}
	key.Add(cache.PartSource, c.Sources...)
	key.Add(cache.PartSourceDir, strconv.FormatBool(c.DestDir))
	key.Add(cache.PartStrict, strconv.FormatBool(s.config.Dialect.Copy.StrictSources))
	if c.Parents {
		key.Add(cache.PartParents, "true")
	}
	key.Add(cache.PartExclude, c.Exclude...)
	key.Add(cache.PartChain, string(from.chain().shared))
	return key
}

// recall fills in what a selection is known to have, and says whether it is known.
func (s *Solver) recall(ctx context.Context, sel *sources, key *cache.Key) (bool, error) {
	r, err := local.Lookup(s.store, key)
	if err != nil {
		return false, err
	}
	for i := 0; r == nil && i < len(s.config.Records.Imported); i++ {
		if r, err = s.ask(ctx, s.config.Records.Imported[i], key); err != nil {
			return false, err
		}
		if r != nil {
			if err := local.Save(s.store, key, r); err != nil {
				return false, err
			}
		}
	}
	if r == nil {
		return false, nil
	}
	_, hex, _ := strings.Cut(r.Selected, ":")
	if sel.sum = digest.NewDigestFromEncoded(digest.SHA256, hex); sel.sum.Validate() != nil {
		return false, nil
	}
	sel.name = r.Selected
	step := cache.NewStep(key, r)
	sel.step = &step
	return true, nil
}

// selectFrom is selectIn for a state whose layers need not be here.
func (s *Solver) selectFrom(ctx context.Context, from *State, step *dockerfile.Step, sel *sources) error {
	return s.selectOnce(ctx, from, step, sel, s.selectionKey(from, step.Copy), func(ctx context.Context) error {
		return s.selectIn(ctx, step, sel)
	})
}

// selectOnce takes what is recorded of a selection in a state, or has selectIn select, and records it.
func (s *Solver) selectOnce(ctx context.Context, from *State, step *dockerfile.Step, sel *sources, key *cache.Key, selectIn func(context.Context) error) error {
	known, err := s.recall(ctx, sel, key)
	if err != nil {
		return err
	}
	if !known { // see apart.go
		p, err := s.partsOf(from)
		if err != nil {
			return err
		}
		if p.tables != "" {
			apart := by(key, p.tables)
			if known, err = s.recall(ctx, sel, apart); err != nil {
				return err
			}
			if p.away {
				key = apart
			}
		}
	}
	sel.read = func(ctx context.Context) error {
		if sel.Tree != nil {
			return nil
		}
		files, err := from.Stack()
		if err != nil {
			return err
		}
		sel.Tree = files
		if err := selectIn(ctx); err != nil {
			sel.Tree = nil // who asks again is not told that all is there
			return err
		}
		return nil
	}
	if known {
		return nil
	}
	if err := sel.read(ctx); err != nil {
		return err
	}
	// A selection takes no time of its own, so that it says the same on every machine, and images have one ID.
	r := &cache.Record{Created: time.Unix(0, 0).UTC(), Instruction: step.Text, Selected: sel.name}
	if made := from.created(); made != nil {
		r.Created = made.UTC()
	}
	made := cache.NewStep(key, r)
	sel.step = &made
	return local.Save(s.store, key, r)
}
