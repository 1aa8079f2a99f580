package builder

import (
	"context"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/solver"
	"github.com/strata-build/strata/internal/builder/subrequest"
	"github.com/strata-build/strata/internal/transfer"
)

// strict fails a build whose Dockerfile says `# check=error=true` before anything of it runs.
func strict(ctx context.Context, sv *solver.Solver, plan *dockerfile.Plan) error {
	if err := sv.Look(ctx, plan); err != nil {
		return err
	}
	return plan.Violation(plan.Findings())
}

// Check looks for what is probably not meant in the Dockerfile, in every stage unless there is a target, and builds
// nothing. The configs of base images are fetched where they are not here. What keeps the file from being built is part of
// the answer; the error is for what could not be read.
func Check(ctx context.Context, m *transfer.Mover, r Request) (*subrequest.Findings, error) {
	b, err := open(ctx, m, &r)
	if err != nil {
		return nil, err
	}
	defer b.close()
	var found []dockerfile.Warning
	if b.file, err = dockerfile.Parse(b.input.source, b.input.name); err == nil {
		found, err = b.check(ctx)
	} else if b.file != nil {
		found = b.file.Warnings()
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return subrequest.NewFindings(b.input.name, b.input.source, found, err), nil
}

// check is what a check finds in a file that could be parsed, as far as it comes.
func (b *build) check(ctx context.Context) (found []dockerfile.Warning, err error) {
	options := b.planOptions(b.Target.targets()[0])
	options.AllStages = true
	options.Found = func(w dockerfile.Warning) { found = append(found, w) }
	plan, err := b.look(ctx, options)
	if err != nil {
		return found, err
	}
	return found, plan.Violation(found)
}

// look plans and walks the stages, so that the plan can say what there is to say of them.
func (b *build) look(ctx context.Context, options dockerfile.Options) (*dockerfile.Plan, error) {
	plan, err := b.file.Plan(options)
	if err != nil {
		return nil, err
	}
	return plan, b.newSolver(&part{plan: plan}, newBases(b)).Look(ctx, plan)
}

// Outline tells what can be given to the target.
func Outline(ctx context.Context, m *transfer.Mover, r Request) (*subrequest.TargetOutline, error) {
	b, err := open(ctx, m, &r)
	if err != nil {
		return nil, err
	}
	defer b.close()
	if b.file, err = dockerfile.Parse(b.input.source, b.input.name); err != nil {
		return nil, err
	}
	options := b.planOptions(b.Target.targets()[0])
	options.Outline, options.Found = true, nil
	plan, err := b.look(ctx, options)
	if err != nil {
		return nil, err
	}
	return subrequest.NewOutline(b.input.source, plan.Outline()), nil
}

// Targets lists the stages of the Dockerfile.
func Targets(ctx context.Context, m *transfer.Mover, r Request) (*subrequest.TargetList, error) {
	b, err := open(ctx, m, &r)
	if err != nil {
		return nil, err
	}
	defer b.close()
	f, err := dockerfile.Parse(b.input.source, b.input.name)
	if err != nil {
		return nil, err
	}
	return subrequest.NewTargetList(f), nil
}
