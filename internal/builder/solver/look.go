package solver

import (
	"context"
	"errors"
	"io"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/image"
)

// UnknownBase is a FROM whose image could not be looked at.
type UnknownBase struct {
	Stage *dockerfile.Stage
	Err   error
}

// Look walks the stages of a plan without looking up or running a step: what the plan has to say of them is known
// afterwards (Plan.Findings, Plan.Outline). Of base images, the configs are fetched. Where one cannot be had, the stages
// on it are looked at as far as they do not depend on it.
func (s *Solver) Look(ctx context.Context, plan *dockerfile.Plan) ([]UnknownBase, error) {
	s.begin(plan)
	l := &look{Solver: s, ends: map[*dockerfile.Stage]end{}}
	for _, stage := range plan.Stages {
		if _, err := l.stage(ctx, stage); err != nil {
			return l.unknown, err
		}
	}
	return l.unknown, nil
}

// look is one walk through all stages.
type look struct {
	*Solver
	ends    map[*dockerfile.Stage]end
	unknown []UnknownBase
}

// end is what a look knows at the end of a stage: the config, or the part of it that the Dockerfile sets.
type end struct {
	config  image.Runtime
	partial bool
}

func (l *look) stage(ctx context.Context, stage *dockerfile.Stage) (end, error) {
	if e, ok := l.ends[stage]; ok {
		return e, nil
	}
	e, err := l.base(ctx, stage)
	if err != nil {
		return e, err
	}
	walk, err := stage.Walk(e.config)
	if err != nil {
		return e, err
	}
	if e.partial {
		walk.IgnoreUndefined()
	}
	for {
		step, err := walk.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && step.Copy != nil && step.Copy.From.Stage != nil {
			_, err = l.stage(ctx, step.Copy.From.Stage)
		}
		if err != nil {
			return e, err
		}
	}
	e.config = walk.Config()
	l.ends[stage] = e
	return e, nil
}

func (l *look) base(ctx context.Context, stage *dockerfile.Stage) (end, error) {
	if from := stage.Base.Stage; from != nil {
		return l.stage(ctx, from)
	}
	state, err := l.Solver.base(ctx, stage)
	switch {
	case err == nil:
		return end{config: state.Config.Config}, nil
	case ctx.Err() != nil:
		return end{}, context.Cause(ctx)
	}
	l.unknown = append(l.unknown, UnknownBase{stage, err})
	return end{partial: true}, nil
}
