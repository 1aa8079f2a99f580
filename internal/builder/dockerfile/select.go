package dockerfile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// Selection is some steps of a plan, as a person names them: see Plan.Select. A nil Selection has none.
type Selection struct {
	stages map[*Stage]bool
	steps  map[place]bool
	texts  []string
}

// place is where a step stands: the number that the engine shows, [number/…] or Step number/….
type place struct {
	stage  *Stage
	number int
}

// Select finds the steps that filters name. Each is, in this order, the name or index of a stage; the number of a
// step, as the engine's output shows it: the n of [n/m] in the target (graph) or the i of Step i/N (classic); a stage
// and a number, app:4, the n of [app n/m] or the instruction's place in the stage, its FROM being the first; or a part
// of the text of instructions. A filter that fits nothing as a whole may be several with commas between them.
//
// Only what can have a cache record counts: the graph engine's steps that change no file have none. A filter that
// fits nothing is an *UnknownFilterError.
func (p *Plan) Select(filters []string) (*Selection, error) {
	s := &Selection{stages: map[*Stage]bool{}, steps: map[place]bool{}}
	for _, f := range filters {
		if p.selectOne(s, f) {
			continue
		}
		parts := strings.Split(f, ",")
		for _, part := range parts {
			if !p.selectOne(s, part) {
				return nil, &UnknownFilterError{Filter: strings.TrimSpace(part), plan: p}
			}
		}
	}
	return s, nil
}

func (p *Plan) selectOne(s *Selection, filter string) bool {
	filter = blanks(filter)
	if filter == "" {
		return false
	}
	if stage := p.stageCalled(filter); stage != nil {
		s.stages[stage] = true
		return true
	}
	candidates := p.candidates()
	if at, ok := p.placeCalled(filter); ok {
		if !slices.ContainsFunc(candidates, func(c candidate) bool { return c.is(at) }) {
			return false
		}
		s.steps[at] = true
		return true
	}
	if !slices.ContainsFunc(candidates, func(c candidate) bool { return strings.Contains(blanks(c.text), filter) }) {
		return false
	}
	s.texts = append(s.texts, filter)
	return true
}

// stageCalled is the stage of a name, BuildKit's name for one without (stage-1) included.
func (p *Plan) stageCalled(name string) *Stage {
	for _, s := range p.Stages {
		if s.Name != "" && strings.EqualFold(s.Name, name) || strings.EqualFold("stage-"+strconv.Itoa(s.Index), name) {
			return s
		}
	}
	return nil
}

// placeCalled reads "4" and "app:4". ok is false if the filter has not this form.
func (p *Plan) placeCalled(filter string) (at place, ok bool) {
	name, number, found := strings.Cut(filter, ":")
	if !found {
		n, err := strconv.Atoi(filter)
		if p.options.Dialect.Output.StepLines {
			return place{nil, n}, err == nil
		}
		return place{p.Target, n}, err == nil
	}
	n, err := strconv.Atoi(number)
	if err != nil {
		return place{}, false
	}
	stage := p.stageCalled(name)
	if i, err := strconv.Atoi(name); err == nil && stage == nil {
		for _, s := range p.Stages {
			if s.Index == i {
				stage = s
			}
		}
	}
	if stage != nil && p.options.Dialect.Output.StepLines {
		return place{nil, stage.Position - 1 + n}, true
	}
	return place{stage, n}, stage != nil
}

// candidate is an instruction that can be chosen.
type candidate struct {
	stage            *Stage
	number, position int
	text             string
}

func (c candidate) is(at place) bool {
	if at.stage == nil {
		return c.position == at.number
	}
	return c.stage == at.stage && c.number == at.number
}

// candidates are the plan's instructions that can have a record. Triggers of base images are not known yet.
func (p *Plan) candidates() []candidate {
	var all []candidate
	for _, s := range p.Stages {
		number := 0
		if s.Base.Image != "" || s.Base.Named != "" {
			number = 1
		}
		for i, c := range s.source.Commands {
			text, _ := c.(fmt.Stringer)
			if changesFiles(c) {
				number++
			} else if !p.options.Dialect.Output.StepLines {
				continue
			}
			all = append(all, candidate{s, number, s.Position + 1 + i, text.String()})
		}
	}
	return all
}

func changesFiles(c instructions.Command) bool {
	switch c.(type) {
	case *instructions.AddCommand, *instructions.CopyCommand, *instructions.RunCommand, *instructions.WorkdirCommand:
		return true
	}
	return false
}

// Has says whether the step is in the selection.
func (s *Selection) Has(step *Step) bool { return s.Names(step) || s != nil && s.stages[step.Stage] }

// Names says whether the step itself was named, by its number or its text, and not only its stage.
func (s *Selection) Names(step *Step) bool {
	if s == nil {
		return false
	}
	if s.steps[place{step.Stage, step.Number}] && step.Number > 0 || s.steps[place{nil, step.Position}] && step.Position > 0 {
		return true
	}
	text := blanks(step.Text)
	return slices.ContainsFunc(s.texts, func(part string) bool { return strings.Contains(text, part) })
}

// blanks makes one blank of any white space, as between the lines of an instruction.
func blanks(text string) string { return strings.Join(strings.Fields(text), " ") }

// UnknownFilterError says that a filter fits no stage and no step.
type UnknownFilterError struct {
	Filter string
	plan   *Plan
}

// maxListed is how many stages or steps an error lists.
const maxListed = 40

func (e *UnknownFilterError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q is no stage, no number of a step and no part of an instruction; give one of these:", e.Filter)
	p := e.plan
	var stages []string
	for _, s := range p.Stages[:min(len(p.Stages), maxListed)] {
		stages = append(stages, s.StageName())
	}
	fmt.Fprintf(&b, "\n  stages: %s", strings.Join(stages, ", "))
	candidates := p.candidates()
	for i, c := range candidates {
		if i == maxListed {
			fmt.Fprintf(&b, "\n  … and %d more", len(candidates)-i)
			break
		}
		text := blanks(c.text)
		if r := []rune(text); len(r) > 100 {
			text = string(r[:99]) + "…"
		}
		if p.options.Dialect.Output.StepLines {
			fmt.Fprintf(&b, "\n  Step %d/%d : %s", c.position, p.Steps, text)
		} else {
			fmt.Fprintf(&b, "\n  %s", c.stage.vertex(c.number, c.stage.Total, text))
		}
	}
	return b.String()
}
