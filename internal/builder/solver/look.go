package solver

import (
	"context"
	"errors"
	"io"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/image"
)

// Look walks the stages of a plan without looking up or running a step: what the plan has to say of them is known
// afterwards (Plan.Findings, Plan.Outline). Of base images, the configs are fetched.
func (s *Solver) Look(ctx context.Context, plan *dockerfile.Plan) error {
	s.begin(plan)
	l := &look{Solver: s, configs: map[*dockerfile.Stage]image.Runtime{}}
	for _, stage := range plan.Stages {
		if _, err := l.stage(ctx, stage); err != nil {
			return err
		}
	}
	return nil
}

// look is one walk through all stages: the configs that they end with.
type look struct {
	*Solver
	configs map[*dockerfile.Stage]image.Runtime
}

func (l *look) stage(ctx context.Context, stage *dockerfile.Stage) (image.Runtime, error) {
	if config, ok := l.configs[stage]; ok {
		return config, nil
	}
	base, err := l.base(ctx, stage)
	if err != nil {
		return base, err
	}
	walk, err := stage.Walk(base)
	if err != nil {
		return base, err
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
			return base, err
		}
	}
	l.configs[stage] = walk.Config()
	return l.configs[stage], nil
}

func (l *look) base(ctx context.Context, stage *dockerfile.Stage) (image.Runtime, error) {
	if from := stage.Base.Stage; from != nil {
		return l.stage(ctx, from)
	}
	state, err := l.Solver.base(ctx, stage)
	if err != nil {
		if ctx.Err() != nil {
			return image.Runtime{}, context.Cause(ctx)
		}
		return image.Runtime{}, stage.Err(err)
	}
	return state.Config.Config, nil
}
