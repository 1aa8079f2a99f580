package solver

import (
	"context"
	"errors"
	"strings"

	"github.com/distribution/reference"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/exec"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/layer/selection"
)

// Planned is the event of a plan that will be solved.
func Planned(p *dockerfile.Plan) event.Planned {
	e := event.Planned{Positions: p.Steps}
	for _, s := range p.Stages {
		e.Stages = append(e.Stages, stageOf(s))
	}
	for _, s := range p.Global {
		e.Globals = append(e.Globals, event.Instruction{Position: s.Position, Text: s.Text})
	}
	return e
}

// stageOf is a stage as events have it.
func stageOf(s *dockerfile.Stage) *event.Stage {
	e := &event.Stage{
		StageID: event.StageID{Platform: platform.Format(s.TargetPlatform()), Index: s.Index},
		Name:    s.DisplayName, Shown: s.ShownPlatform(), From: s.Base.Image, Image: s.Base.Image != "",
		Instructions: s.Instructions(),
	}
	switch {
	case s.Base.Scratch:
		e.From = "scratch"
	case s.Base.Named != "":
		e.From = "context " + s.Base.Named
	case s.Base.Stage != nil:
		e.From = s.Base.Stage.DisplayName
	}
	return e
}

// fromVertex is the look-up of what a stage starts from. BuildKit shows images only.
func fromVertex(s *dockerfile.Stage, shown *event.Stage) *event.Vertex {
	v := &event.Vertex{Kind: event.From, Stage: shown, Text: s.Text, Position: s.Position, Line: s.Line}
	if name := s.Base.Image; name != "" {
		if ref, err := reference.ParseNormalizedNamed(name); err == nil {
			name = reference.TagNameOnly(ref).String()
		}
		v.Name = s.FromVertex(name)
	}
	return v
}

// foundBase ends the look-up of what a stage starts from. It is cached where all of its layers are here.
func (s *Solver) foundBase(v *event.Vertex, st *State, err error) event.Finished {
	if err != nil {
		return failed(v, err)
	}
	f := event.Finished{Vertex: v, Status: event.Cached, State: st.ID, Chain: st.chain().id}
	for _, d := range st.Chain() {
		if !s.store.IsPresent(d) {
			f.Status = event.Done
		}
	}
	return f
}

// stepVertex is a step. BuildKit shows none that only changes the configuration.
func stepVertex(s *dockerfile.Step, stage *event.Stage) *event.Vertex {
	v := &event.Vertex{
		Kind: event.Configure, Name: s.Vertex(), Stage: stage, Text: s.Text, Number: s.Number, Total: s.Total,
		Position: s.Position, Line: s.Line, Index: s.Index(),
	}
	switch {
	case s.Run != nil:
		v.Kind = event.Run
	case s.Copy != nil:
		v.Kind = event.Copy
	case s.Workdir != nil:
		v.Kind = event.Workdir
	}
	return v
}

// finished ends a step. record is what it came from, nil for a step that needs none; ran says that it ran just now.
func finished(v *event.Vertex, st *State, record *cache.Record, ran bool) event.Finished {
	f := event.Finished{Vertex: v, Status: event.Cached, State: st.ID, Record: record}
	switch {
	case record == nil:
		f.Status = event.Configured
	case ran:
		f.Status = event.Done
	}
	return f
}

// failed ends a vertex with its error, which whoever reports the build's error puts its place in the Dockerfile before.
func failed(v *event.Vertex, err error) event.Finished {
	if errors.Is(err, context.Canceled) {
		return event.Finished{Vertex: v, Status: event.Canceled}
	}
	if e := (*dockerfile.Error)(nil); errors.As(err, &e) {
		err = e.Err
	}
	return event.Finished{Vertex: v, Status: event.Failed, Err: err}
}

// lookedUp tells what the result of a step depends on.
func lookedUp(step *dockerfile.Step, op *operation, forced string) event.LookedUp {
	e := event.LookedUp{Vertex: op.vertex, Key: op.key, Forced: forced}
	for _, m := range op.mounts {
		e.Mounts = append(e.Mounts, event.Mount{Target: m.Target, Source: mountLabel(m), Files: m})
	}
	if step.Run != nil {
		e.BuildArgs = step.Run.BuildArgs
	}
	if c := step.Copy; c != nil {
		e.Copied = &event.Copied{
			Dest: c.Dest, DestDir: c.DestDir, Context: c.From.Named, Remote: op.remote, Selection: matches(op.matches),
		}
		for _, f := range c.Inline {
			e.Copied.Inline = append(e.Copied.Inline, f.Name)
		}
	}
	return e
}

// mountLabel names what a mount shows: a path of the context, or of a stage, image or named context, whose name is in
// front.
func mountLabel(m *exec.Mount) string {
	switch {
	case m.Mount.From.Stage != nil:
		return m.Mount.From.Stage.DisplayName + ":" + m.Source
	case m.Mount.From.Image != "":
		return m.Mount.From.Image + ":" + m.Source
	case m.Mount.From.Named != "":
		return m.Mount.From.Named + ":" + m.Source
	}
	return strings.TrimPrefix(m.Source, "/")
}

// matches are what the sources of a COPY or ADD selected, as events list it.
type matches []selection.Match

// Selected implements event.Selection.
func (all matches) Selected() []event.Selected {
	list := make([]event.Selected, 0, len(all))
	for _, m := range all {
		holds := func(target string) bool {
			ok, err := m.Holds(context.Background(), target) // reads nothing that was not read
			return ok && err == nil
		}
		list = append(list, event.Selected{Path: m.Path, Name: m.Name, Dir: m.Dir, Holds: holds})
	}
	return list
}

func (s *Solver) warn(line string) { s.events.Send(event.Warning{Text: line}) }
