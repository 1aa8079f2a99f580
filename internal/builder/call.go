package builder

import (
	"context"
	"fmt"
	"time"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/solver"
	"github.com/strata-build/strata/internal/builder/subrequest"
	"github.com/strata-build/strata/internal/transfer"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// strict fails a build whose Dockerfile says `# check=error=true` before anything of it runs.
func strict(ctx context.Context, sv *solver.Solver, plan *dockerfile.Plan) error {
	if _, err := sv.Look(ctx, plan); err != nil {
		return err
	}
	return plan.Violation(plan.Findings())
}

// Check looks for what is probably not meant in the Dockerfile, in every stage unless there is a target, and builds
// nothing. What keeps the file from being built is part of the answer; the error is for what could not be read.
//
// The configs of base images are fetched where they are not here. What their registries do not answer in time stays
// unchecked: each of these is a line of the second result.
func Check(ctx context.Context, m *transfer.Mover, r Request) (*subrequest.Findings, []string, error) {
	b, err := open(ctx, m, &r)
	if err != nil {
		return nil, nil, err
	}
	defer b.close()
	var found []dockerfile.Warning
	var unchecked []string
	if b.file, err = dockerfile.Parse(b.input.source, b.input.name); err == nil {
		found, unchecked, err = b.check(ctx)
	} else if b.file != nil {
		found = b.file.Warnings()
	}
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	return subrequest.NewFindings(b.input.name, b.input.source, found, err), unchecked, nil
}

// check is what a check finds in a file that could be parsed, as far as it comes.
func (b *build) check(ctx context.Context) (found []dockerfile.Warning, unchecked []string, err error) {
	options := b.planOptions(b.Target.targets()[0])
	options.AllStages = true
	options.Found = func(w dockerfile.Warning) { found = append(found, w) }
	plan, unchecked, err := b.look(ctx, options)
	if err != nil {
		return found, unchecked, err
	}
	return found, unchecked, plan.Violation(found)
}

// patience is how long an answer waits for the registry of a base image.
const patience = 10 * time.Second

// look plans and walks the stages, so that the plan can say what there is to say of them.
func (b *build) look(ctx context.Context, options dockerfile.Options) (plan *dockerfile.Plan, unchecked []string, err error) {
	if plan, err = b.file.Plan(options); err != nil {
		return nil, nil, err
	}
	bases := newBases(b)
	bases.patience = patience
	unknown, err := b.newSolver(&part{plan: plan}, bases).Look(ctx, plan)
	told := map[string]bool{}
	for _, u := range unknown {
		if !registry.Unanswered(u.Err) {
			return plan, unchecked, u.Stage.Err(u.Err)
		}
		if name := u.Stage.Base.Image; !told[name] {
			told[name] = true
			unchecked = append(unchecked, fmt.Sprintf("the variables and triggers of %s are not checked, since it is not here: %v", name, u.Err))
		}
	}
	return plan, unchecked, err
}

// Outline tells what can be given to the target. The second result is that of Check.
func Outline(ctx context.Context, m *transfer.Mover, r Request) (*subrequest.TargetOutline, []string, error) {
	b, err := open(ctx, m, &r)
	if err != nil {
		return nil, nil, err
	}
	defer b.close()
	if b.file, err = dockerfile.Parse(b.input.source, b.input.name); err != nil {
		return nil, nil, err
	}
	options := b.planOptions(b.Target.targets()[0])
	options.Outline, options.Found = true, nil
	plan, unchecked, err := b.look(ctx, options)
	if err != nil {
		return nil, nil, err
	}
	return subrequest.NewOutline(b.input.source, plan.Outline()), unchecked, nil
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
