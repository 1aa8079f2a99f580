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
	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/transfer"
)

// part is the build for one of the platforms: a plan of its own, which its own solver solves, beside the others and in
// the same store. Steps that are the same for several platforms have one key, and so run once.
type part struct {
	plan    *dockerfile.Plan
	filter  *dockerfile.Selection
	refresh *solver.Refresh
	solver  *solver.Solver
}

// plans makes a plan for each platform that is asked for, in their order.
func (in *input) plans(o Options) ([]*part, error) {
	f, err := dockerfile.Parse(in.source, in.name)
	if err != nil {
		return nil, err
	}
	found := once(func(w dockerfile.Warning) { o.Events.Send(finding(in.reading, w)) })
	var parts []*part
	for _, target := range o.targets() {
		options := in.planOptions(o, target)
		options.Found = found
		plan, err := f.Plan(options)
		if err != nil {
			return nil, err
		}
		p := &part{plan: plan}
		if err := p.chooseSteps(o); err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// targets are the platforms that are built for.
func (o *Options) targets() []ocispec.Platform {
	if len(o.Platforms) == 0 {
		return []ocispec.Platform{o.Platform}
	}
	return o.Platforms
}

// solveAll solves all parts at the same time and gives what each made, in their order. The first that fails ends the
// others.
func solveAll(ctx context.Context, m *transfer.Mover, in *input, parts []*part, o Options) ([]export.Image, error) {
	sources := sources(ctx, m, o)
	ran, bases := solver.NewRan(), newBases(m, in.named, o)
	images := make([]export.Image, len(parts))
	for _, p := range parts {
		p.solver = newSolver(m, in, p, bases, o)
		p.solver.Sources, p.solver.Ran = sources[platform.Format(p.plan.Platform())], ran
		if o.Engine.File.Lint && p.plan.Strict() {
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
