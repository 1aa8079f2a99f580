package solver

import (
	"context"
	"fmt"

	"github.com/strata-build/strata/internal/builder/adopt"
	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/layer"
)

// position is where the build stands at a state.
func (s *State) position() *adopt.Position {
	return &adopt.Position{Base: s.root.Config, Config: s.Config, Past: s.past}
}

// fromImage takes the layer of a step from an image whoever built it, by the rows of its history. The row in the
// step's place is the one whose layer comes next after the layers that the step starts from. What it gives is
// checked: a COPY, ADD or WORKDIR by what the layer holds, a RUN by its text, arguments and environment. Whatever
// cannot be checked is refused: a wrong layer is worse than a step that runs.
func (s *Solver) fromImage(ctx context.Context, source *cache.Source, parent *State, step *dockerfile.Step, op *operation) (*cache.Record, error) {
	if source.Image == nil {
		return nil, nil
	}
	if s.config.Records.Observe.On && step.Run == nil && len(source.Image.Cached) > 0 {
		return nil, nil // the image has the keys of its steps: other files were copied, and nothing need be fetched to see it
	}
	row, reason, err := s.findRow(ctx, source, parent, step, op)
	if err != nil {
		return nil, err
	}
	if reason != "" {
		s.events.Send(event.Rejected{Vertex: op.vertex, Source: source.Name, Reason: reason})
		return nil, nil
	}
	r := &cache.Record{Layer: row.Layer, Created: row.Time(source.Image), Instruction: step.Text, Written: step.Written(), Origin: source.Name}
	switch {
	case r.Layer == layer.EmptyDiffID && !s.keepEmpty():
		r.Layer = ""
	case r.Layer == "" && s.keepEmpty():
		return nil, nil // the step makes the empty layer that the image lacks
	}
	return s.known(r)
}

// findRow is the history row that is the step's, or the reason why the image has none.
func (s *Solver) findRow(ctx context.Context, source *cache.Source, parent *State, step *dockerfile.Step, op *operation) (*adopt.Row, string, error) {
	at := parent.position()
	if step.Stage != s.round.plan.Target {
		at.Stage = step.Stage.DisplayName
	}
	image, reason := adopt.Align(source.Image, at, step.Stage.Platform.Architecture)
	if reason != "" {
		return nil, reason, nil
	}
	if step.Run != nil {
		row, reason := image.FindRun(step, adopt.RunFacts{
			Unverifiable: adopt.Unverifiable(op.key), DiscardsVolumes: s.config.Dialect.Run.DiscardsVolumes,
		})
		return row, reason, nil
	}
	row, reason := image.FindFiles(step)
	if reason != "" {
		return nil, reason, nil
	}
	reason, err := s.compareLayer(ctx, parent, row, op)
	return row, reason, err
}

// compareLayer says why the layer of a row is not what a COPY, ADD or WORKDIR would make; "" if it is, times
// aside. Nothing is written for that, but the layer is fetched if it is not here.
func (s *Solver) compareLayer(ctx context.Context, parent *State, row *adopt.Row, op *operation) (string, error) {
	made, err := op.contents(ctx)
	if err != nil {
		return "", err
	}
	if reason, decided := row.CompareEmpty(made); decided {
		return reason, nil
	}
	below, err := s.below(parent, op.link)
	if err != nil {
		return "", err
	}
	l, err := s.store.Layer(row.Layer)
	if err == nil {
		var there *layer.TOC
		if there, err = l.TOC(ctx); err == nil {
			return adopt.CompareLayers(ctx, made, there, below)
		}
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	return fmt.Sprintf("its layer could not be read: %v", err), nil
}

// contents are the entries that a COPY, ADD or WORKDIR would make.
func (op *operation) contents(ctx context.Context) (*layer.TOC, error) {
	w, err := op.draft(ctx)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	return w.Contents(ctx)
}

// settingFrom is for a step of the classic engine that only changes the configuration: where the
// source's history says the same up to there, the step has the time of the source's row, and so its
// step ID.
func settingFrom(source *cache.Source, parent *State, step *dockerfile.Step) *cache.Record {
	if source.Image == nil {
		return nil
	}
	at := parent.position()
	if row := adopt.NextRow(source.Image, at, step); row != nil {
		return &cache.Record{Created: *row.Created, Instruction: step.Text, Origin: source.Name}
	}
	image, reason := adopt.Align(source.Image, at, step.Stage.Platform.Architecture)
	if reason != "" {
		return nil
	}
	row := image.FindSetting(step)
	if row == nil {
		return nil
	}
	return &cache.Record{Created: row.Time(source.Image), Instruction: step.Text, Origin: source.Name}
}
