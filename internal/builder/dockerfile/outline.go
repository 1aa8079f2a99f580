package dockerfile

import (
	"cmp"
	"maps"
	"slices"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// Target is a stage as a person chooses it, from the file alone.
type Target struct {
	Name        string // "" without AS
	Default     bool   // the last stage
	Description string // its comment, `# name text`
	Base        string // as written
	Platform    string // --platform, as written
	Ranges      []Range
}

// Targets are the stages of the file.
func (f *File) Targets() []Target {
	list := make([]Target, len(f.stages))
	for i, s := range f.stages {
		list[i] = Target{
			Name: s.Name, Default: i == len(f.stages)-1, Description: s.DocComment,
			Base: s.BaseName, Platform: s.Platform, Ranges: ranges(s.Location),
		}
	}
	return list
}

// Outline is what can be given to a target: the build arguments, secrets and ssh agents that it or a stage that it needs
// uses.
type Outline struct {
	Name, Description string // of the target
	Args              []OutlineArg
	Secrets, SSH      []OutlineMount
}

// OutlineArg is a build argument and the value that it has.
type OutlineArg struct {
	Name, Value, Description string
	Ranges                   []Range // of its ARG
	deps                     map[string]struct{}
}

// OutlineMount is a secret or an ssh agent by its ID.
type OutlineMount struct {
	Name     string
	Required bool
	Ranges   []Range // of the RUN
}

// outline is what one stage uses, with what the stages that it starts from do: BuildKit's outlineCapture. nil is for
// plans that nobody asks for it.
type outline struct {
	global       map[string]OutlineArg // ARGs before the first FROM
	args         map[string]OutlineArg // ARGs of stages, by name: the last of that name
	used         map[string]struct{}   // names of arguments
	secrets, ssh map[string]OutlineMount
}

func newOutline() *outline {
	return &outline{
		global: map[string]OutlineArg{}, args: map[string]OutlineArg{}, used: map[string]struct{}{},
		secrets: map[string]OutlineMount{}, ssh: map[string]OutlineMount{},
	}
}

func (o *outline) clone() *outline {
	if o == nil {
		return nil
	}
	return &outline{
		global: o.global, args: maps.Clone(o.args), used: maps.Clone(o.used), secrets: maps.Clone(o.secrets), ssh: maps.Clone(o.ssh),
	}
}

func (o *outline) arg(name string) (a OutlineArg, declared bool) {
	if a, declared = o.args[name]; !declared {
		a, declared = o.global[name]
	}
	return a, declared
}

// declare notes an ARG of the stage. One without a value that takes the global one's keeps that one's place.
func (o *outline) declare(a instructions.KeyValuePairOptional, value string, inherited bool, at []Range) {
	if o == nil {
		return
	}
	if !inherited {
		o.args[a.Key] = OutlineArg{Name: a.Key, Value: value, Description: a.DocComment, Ranges: at}
	}
	o.used[a.Key] = struct{}{}
}

// mount notes a secret or an ssh agent; the first RUN that has it gives the place.
func (o *outline) mount(m Mount, at []Range) {
	if o == nil {
		return
	}
	list := o.secrets
	if m.Type == MountSSH {
		list = o.ssh
	} else if m.Type != MountSecret {
		return
	}
	if _, ok := list[m.ID]; !ok {
		list[m.ID] = OutlineMount{Name: m.ID, Required: m.Required, Ranges: at}
	}
}

// useAll adds what the defaults of used arguments are made of.
func (o *outline) useAll() {
	open := slices.Collect(maps.Keys(o.used))
	for len(open) > 0 {
		name := open[len(open)-1]
		open = open[:len(open)-1]
		a, _ := o.arg(name)
		for dep := range a.deps {
			if _, known := o.used[dep]; !known {
				o.used[dep] = struct{}{}
				open = append(open, dep)
			}
		}
	}
}

// Outline is the target's, once all stages of the plan were walked to their ends.
func (p *Plan) Outline() *Outline {
	args, secrets, ssh := map[string]OutlineArg{}, map[string]OutlineMount{}, map[string]OutlineMount{}
	for _, s := range p.targetFirst() {
		s.mu.Lock()
		o := s.outline
		s.mu.Unlock()
		if o == nil {
			continue
		}
		o.useAll()
		for name := range o.used {
			a, declared := o.arg(name)
			if _, known := args[name]; declared && !known {
				args[name] = a
			}
		}
		for name, m := range o.secrets {
			if _, known := secrets[name]; !known {
				secrets[name] = m
			}
		}
		for name, m := range o.ssh {
			if _, known := ssh[name]; !known {
				ssh[name] = m
			}
		}
	}
	return &Outline{
		Name: p.Target.source.Name, Description: p.Target.source.DocComment,
		Args:    byPlace(args, func(a OutlineArg) []Range { return a.Ranges }),
		Secrets: byPlace(secrets, func(m OutlineMount) []Range { return m.Ranges }),
		SSH:     byPlace(ssh, func(m OutlineMount) []Range { return m.Ranges }),
	}
}

// targetFirst are the target and the stages that it needs: what is nearer to it comes first, and counts.
func (p *Plan) targetFirst() []*Stage {
	seen := map[*Stage]bool{p.Target: true}
	list := []*Stage{p.Target}
	for i := 0; i < len(list); i++ {
		needs := list[i].Needs
		if base := list[i].Base.Stage; base != nil {
			needs = append([]*Stage{base}, needs...)
		}
		for _, s := range needs {
			if !seen[s] {
				seen[s] = true
				list = append(list, s)
			}
		}
	}
	return list
}

// byPlace sorts by the line, then by the name.
func byPlace[V any](m map[string]V, at func(V) []Range) []V {
	line := func(name string) int {
		if r := at(m[name]); len(r) > 0 {
			return r[0].Start.Line
		}
		return 0
	}
	names := sortedKeys(m)
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(line(a), line(b)) })
	list := make([]V, len(names))
	for i, name := range names {
		list[i] = m[name]
	}
	return list
}
