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
func Check(ctx context.Context, m *transfer.Mover, o Options) (*subrequest.Findings, error) {
	in, done, err := readForCall(ctx, m, o)
	if err != nil {
		return nil, err
	}
	defer done()
	f, err := dockerfile.Parse(in.source, in.name)
	var found []dockerfile.Warning
	if err == nil {
		found, err = look(ctx, m, in, f, o)
	} else if f != nil {
		found = f.Warnings()
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return subrequest.NewFindings(in.name, in.source, found, err), nil
}

// look is what a check finds in a file that could be parsed, as far as it comes.
func look(ctx context.Context, m *transfer.Mover, in *input, f *dockerfile.File, o Options) (found []dockerfile.Warning, err error) {
	options := in.planOptions(o, o.targets()[0])
	options.AllStages = true
	options.Found = func(w dockerfile.Warning) { found = append(found, w) }
	plan, err := f.Plan(options)
	if err != nil {
		return found, err
	}
	if err := newSolver(m, in, &part{plan: plan}, newBases(m, in.named, o), o).Look(ctx, plan); err != nil {
		return found, err
	}
	return found, plan.Violation(found)
}

// Outline tells what can be given to the target.
func Outline(ctx context.Context, m *transfer.Mover, o Options) (*subrequest.TargetOutline, error) {
	in, done, err := readForCall(ctx, m, o)
	if err != nil {
		return nil, err
	}
	defer done()
	options := in.planOptions(o, o.targets()[0])
	options.Outline, options.Found = true, nil
	f, err := dockerfile.Parse(in.source, in.name)
	if err != nil {
		return nil, err
	}
	plan, err := f.Plan(options)
	if err != nil {
		return nil, err
	}
	if err := newSolver(m, in, &part{plan: plan}, newBases(m, in.named, o), o).Look(ctx, plan); err != nil {
		return nil, err
	}
	return subrequest.NewOutline(in.source, plan.Outline()), nil
}

// Targets lists the stages of the Dockerfile.
func Targets(ctx context.Context, m *transfer.Mover, o Options) (*subrequest.TargetList, error) {
	in, done, err := readForCall(ctx, m, o)
	if err != nil {
		return nil, err
	}
	defer done()
	f, err := dockerfile.Parse(in.source, in.name)
	if err != nil {
		return nil, err
	}
	return subrequest.NewTargetList(f), nil
}

// readForCall reads what a build would. done ends the use of it.
func readForCall(ctx context.Context, m *transfer.Mover, o Options) (in *input, done func(), err error) {
	if err := m.Store.Begin(); err != nil {
		return nil, nil, err
	}
	fetcher := newFetcher(m.Store, o)
	done = func() {
		if in != nil {
			in.close()
		}
		fetcher.Close()
	}
	if in, err = readInput(ctx, m.Store, fetcher, o); err == nil {
		in.named, err = newNamedContexts(m.Store, fetcher, o)
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	return in, done, nil
}
