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

// plans makes a plan for each platform that is asked for, in their order.
func (b *build) plans() ([]*part, error) {
	found := once(func(w dockerfile.Warning) { b.events.Send(finding(b.input.reading, w)) })
	var parts []*part
	for _, target := range b.Target.targets() {
		options := b.planOptions(target)
		options.Found = found
		plan, err := b.file.Plan(options)
		if err != nil {
			return nil, err
		}
		p := &part{plan: plan}
		if err := p.chooseSteps(&b.Cache); err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// solveAll solves all parts at the same time and gives what each made, in their order. The first that fails ends the
// others.
func (b *build) solveAll(ctx context.Context, parts []*part) ([]export.Image, error) {
	imported := b.imported(ctx)
	executed, bases := solver.NewExecuted(), newBases(b)
	images := make([]export.Image, len(parts))
	for _, p := range parts {
		p.imported, p.executed = imported[platform.Format(p.plan.Platform())], executed
		p.solver = b.newSolver(p, bases)
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

// once passes on what was not found before: several plans are of one file.
func once(tell func(dockerfile.Warning)) func(dockerfile.Warning) {
	var mu sync.Mutex
	told := map[string]bool{}
	return func(w dockerfile.Warning) {
		mu.Lock()
		defer mu.Unlock()
		if text := w.String(); !told[text] {
			told[text] = true
			tell(w)
		}
	}
}

// findings are those of all plans, each once.
func findings(parts []*part) []dockerfile.Warning {
	var all []dockerfile.Warning
	add := once(func(w dockerfile.Warning) { all = append(all, w) })
	for _, p := range parts {
		for _, w := range p.plan.Findings() {
			add(w)
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
