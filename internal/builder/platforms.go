package builder

import (
	"context"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/export"
	"github.com/strata-build/strata/internal/builder/solver"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/image/platform"
)

// part is the build for one of the platforms: a plan of its own, which its own solver solves, beside the others and in
// the same store. Steps that are the same for several platforms have one key, and so run once.
type part struct {
	plan     *dockerfile.Plan
	filter   *dockerfile.Selection
	observe  solver.Observe
	refresh  *solver.Refresh
	imported []*cache.Source
	executed *solver.Executed
	solver   *solver.Solver
}

// plans makes a plan for each platform that is asked for, in their order. Those before one that fails are given as
// well.
func (b *build) plans() ([]*part, error) {
	var merged merger
	var parts []*part
	for _, target := range b.Target.targets() {
		options := b.planOptions(target)
		told := merged.plan()
		options.Found = func(w dockerfile.Warning) {
			if told.isNew(w) {
				b.events.Send(finding(b.input.reading, w))
			}
		}
		plan, err := b.file.Plan(options)
		if err != nil {
			return append(parts, &part{plan: plan}), err
		}
		p := &part{plan: plan}
		parts = append(parts, p)
		if err := p.chooseSteps(&b.Cache); err != nil {
			return parts, err
		}
	}
	return parts, nil
}

// solveAll solves all parts at the same time and gives what each made, in their order. The first that fails ends the
// others.
func (b *build) solveAll(ctx context.Context, parts []*part) ([]export.Image, error) {
	b.bases = newBases(b)
	defer b.bases.sayParts()
	if len(b.Cache.From) > 0 {
		defer b.bases.ask(ctx, parts)()
	}
	imported := b.imported(ctx)
	executed := solver.NewExecuted()
	images := make([]export.Image, len(parts))
	for _, p := range parts {
		p.imported, p.executed = imported[platform.Format(p.plan.Platform())], executed
	}
	b.openDestinations(ctx, parts)
	b.beginPushing(ctx, parts)
	for _, p := range parts {
		p.solver = b.newSolver(p, b.bases)
		if b.Target.Dialect.File.Lint && p.plan.Strict() {
			if err := strict(ctx, p.solver, p.plan); err != nil {
				return nil, err
			}
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	for i, p := range parts {
		g.Go(func() error {
			state, err := p.solver.Solve(ctx, p.plan)
			if err == nil {
				images[i] = newImage(p.plan.Platform(), state)
			}
			return err
		})
	}
	return images, g.Wait()
}

// merger makes one list of the findings of several plans, which are of one file.
type merger struct {
	mu   sync.Mutex
	told dockerfile.Tally
}

// plan is for the findings of one of the plans.
func (m *merger) plan() *planFindings { return &planFindings{merger: m, told: dockerfile.Tally{}} }

type planFindings struct {
	*merger
	told dockerfile.Tally
}

// isNew says that no other plan had as many findings of this text.
func (p *planFindings) isNew(w dockerfile.Warning) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.merger.told == nil {
		p.merger.told = dockerfile.Tally{}
	}
	if p.told.Number(w) <= p.merger.told[w.String()] {
		return false
	}
	p.merger.told.Number(w)
	return true
}

// findings are those of all plans, each once.
func findings(parts []*part) []dockerfile.Warning {
	var merged merger
	var all []dockerfile.Warning
	for _, p := range parts {
		told := merged.plan()
		for _, w := range p.plan.Findings() {
			if told.isNew(w) {
				all = append(all, w)
			}
		}
	}
	return all
}

// resultOf is the ID that people mean by the result: this machine's image, or else the first.
func resultOf(images []export.Image, here ocispec.Platform) digest.Digest {
	for _, img := range images {
		if platform.Same(img.Platform, here) {
			return img.ID
		}
	}
	return images[0].ID
}
