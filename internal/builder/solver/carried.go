package solver

import (
	"context"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/image"
)

// Steps are those of the build that other machines can use, each once: what the target consists of, and then those of
// the other stages of a plan that was solved. These are KeyOnly unless all is set: what the target copies from a stage
// is found by the keys of the stage's steps, without their layers (BuildKit's mode=min).
func (s *Solver) Steps(plan *dockerfile.Plan, all bool) []cache.Step {
	var steps []cache.Step
	had := map[digest.Digest]bool{}
	add := func(stage *dockerfile.Stage, keyOnly bool) {
		p := s.round.stages[stage]
		if p.state == nil {
			return
		}
		for _, step := range p.state.steps {
			if !had[step.Key] {
				had[step.Key] = true
				step.KeyOnly = keyOnly && step.Record.Layer != ""
				steps = append(steps, step)
			}
		}
	}
	if !all {
		add(plan.Target, false)
	}
	for _, stage := range plan.Stages {
		add(stage, !all)
	}
	return steps
}

// follows gives a state the steps of the one before it, and the one that made it.
func (s *Solver) follows(next, parent *State, op *operation, record *cache.Record) {
	next.steps = slices.Clip(parent.steps)
	if op == nil || record == nil {
		return
	}
	next.steps = append(next.steps, op.selected...)
	next.steps = append(next.steps, s.carried(op, record))
}

// carried is a step as other machines may know it.
func (s *Solver) carried(op *operation, record *cache.Record) cache.Step {
	key := op.shared
	if key == nil {
		key = op.key
	}
	made := cache.NewStep(key, record)
	made.Observed = op.observation
	made.Record.Reached = nil // names of hosts stay here
	if !s.config.Records.Observe.On {
		made.Record.Observed = nil // what a step read stays here
	}
	return made
}

// addStages puts into the target's config those of the build's steps that have no row there: of the other stages,
// without their layers, and what was selected in them. Where there are none, those of the base image stay.
func (s *Solver) addStages(ctx context.Context, c *image.Config, target *State) error {
	had := map[digest.Digest]bool{}
	for _, row := range c.Cached {
		had[row.Key] = true
	}
	var stages []image.CachedStep
	add := func(state *State) {
		for _, step := range state.steps {
			r := step.Record
			if had[step.Key] || r.Kind == cache.KindScratch {
				continue
			}
			had[step.Key] = true
			stages = append(stages, image.CachedStep{
				Key: step.Key, Layer: r.Layer, Selected: r.Selected, Created: r.Created, MS: r.Took.Milliseconds(),
			})
		}
	}
	add(target)
	for _, stage := range s.round.plan.Stages {
		if stage == s.round.plan.Target {
			continue
		}
		state, err := s.stage(ctx, stage)
		if err != nil {
			return err
		}
		add(state)
	}
	if len(stages) > 0 {
		c.Stages = stages
	}
	return nil
}
