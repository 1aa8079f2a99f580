package dockerfile

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/human/suggest"
	"github.com/strata-build/strata/internal/image/platform"
)

// Options are what a build is told besides its Dockerfile.
type Options struct {
	Target string            // name or index of the stage to build; "" is the last
	Args   map[string]string // --build-arg, one without a value already looked up in the environment
	// Globals replace the values of ARGs before the first FROM that no --build-arg has.
	Globals map[string]string
	// Platform is what is built for, BuildPlatform what is built on: this machine's. What is empty
	// of that is Go's own, and without Platform it is what is built for.
	Platform, BuildPlatform ocispec.Platform
	// SeveralPlatforms says that this is one of several plans for different platforms, which then are shown.
	SeveralPlatforms bool
	Labels           map[string]string // --label: set on the target after its last instruction
	Dialect          dialect.Dialect   // the zero value is Graph
	Allow            []Entitlement     // --allow
	// Contexts are the named contexts, by their names as ContextName gives them.
	Contexts map[string]Named
	// AllStages plans every stage of the file if Target is "".
	AllStages bool
	// Outline has the walks collect what Plan.Outline tells.
	Outline bool
	// Ignored, if not nil, says whether .dockerignore keeps a path of the context from COPY and ADD. BuildKit asks only
	// where no line of the file makes an exception.
	Ignored func(path string) bool
	// Found, if not nil, is told of each warning when it is found, once. Stages are walked at the same time.
	Found func(Warning)
}

// Plan is what a build has to do.
type Plan struct {
	// Stages are those to build, in the order of the file, so that each comes after all that it needs. Graph: what
	// Target needs. Classic: all up to Target, as Docker does it.
	Stages   []*Stage
	Target   *Stage
	Warnings []Warning
	// Global are the ARGs before the first FROM. Only Docker's old output shows them (Text, Position).
	Global []*Step
	// Steps is the N of the classic engine's "Step i/N": every instruction of every stage up to Target, FROM and the
	// ARGs before it included, and one LABEL for each --label.
	Steps int

	file    *File
	options Options
	global  *environ // what FROM lines and a stage's ARGs without a default see
	all     []*Stage // of the whole file
	named   map[string][]*Stage
	lint    lintRules
	outline *outline // global ARGs

	mu     sync.Mutex
	unused []string // build arguments that nothing declares, as far as is known
}

// Plan finds out which stages there are to build. Errors are *Error; the Plan that comes with one is good for Findings
// only.
func (f *File) Plan(o Options) (*Plan, error) {
	o.Dialect = o.Dialect.Or(dialect.Graph())
	o.BuildPlatform = defaultPlatform(o.BuildPlatform, platform.Local())
	o.Platform = defaultPlatform(o.Platform, o.BuildPlatform)
	p := &Plan{file: f, options: o}
	return p, p.fill()
}

// fill makes the plan, as far as it comes.
func (p *Plan) fill() error {
	f, o := p.file, p.options
	if o.Dialect.File.BuildKit {
		if err := f.checkSyntax(o.Args); err != nil {
			return err
		}
	}
	if err := p.chooseLintRules(); err != nil {
		return err
	}
	rules := p.lint.linter(p.warn)
	lintStages(f.stages, rules)
	target := o.Target
	if target == "" {
		target = f.stages[len(f.stages)-1].Name
	}
	p.lintDefaultBases(target, rules)
	p.global = automaticArgs(o, target)
	if o.Outline {
		p.outline = newOutline()
	}
	if err := f.expandGlobalArgs(p.global, o.Args, p.outline); err != nil {
		return err
	}
	for name, value := range o.Globals {
		p.global.set(name, value)
	}
	if err := p.addStages(rules); err != nil {
		return err
	}
	if err := p.chooseTarget(); err != nil {
		return err
	}
	if err := p.chooseStages(); err != nil {
		return err
	}
	p.count()
	p.warnUnusedArgs()
	return nil
}

// warn keeps a warning about the plan, and passes it on.
func (p *Plan) warn(w Warning) {
	p.Warnings = append(p.Warnings, w)
	if p.options.Found != nil {
		p.options.Found(w)
	}
}

func (f *File) lex() *shell.Lex { return shell.NewLex(f.escape) }

// addStages makes the stages of the whole file and finds what each refers to.
func (p *Plan) addStages(rules *linter.Linter) error {
	byName := map[string]*Stage{}
	p.named = map[string][]*Stage{}
	for i, source := range p.file.stages {
		s := &Stage{Index: i, Name: source.Name, Text: source.SourceCode, plan: p, source: source}
		s.Line, s.EndLine = lines(source.Location)
		s.DisplayName = s.StageName()
		if err := s.findBase(byName, rules.WithMergedConfigFromComments(source.Comments)); err != nil {
			return p.file.errorIn(err, source.Location)
		}
		if err := s.findPlatform(); err != nil {
			return p.file.errorIn(err, source.Location)
		}
		if s.Name != "" {
			if other := byName[s.Name]; other != nil && !p.options.Dialect.File.BuildKit {
				// BuildKit warns only, and takes the later stage from there on.
				return p.file.errorIn(fmt.Errorf("the stage name %q is already used in line %d", s.Name, other.Line), source.Location)
			}
			byName[s.Name] = s
			p.named[s.Name] = append(p.named[s.Name], s)
		}
		p.all = append(p.all, s)
	}
	p.nameAlone()
	return nil
}

// nameAlone takes the display name from a stage that is alone. BuildKit counts every image that a COPY names as one
// more, and every mount, for which it takes scratch where it names nothing (detectRunMount).
func (p *Plan) nameAlone() {
	if len(p.all) > 1 {
		return
	}
	for _, c := range p.all[0].source.Commands {
		switch c := c.(type) {
		case *instructions.CopyCommand:
			if c.From != "" {
				return
			}
		case *instructions.RunCommand:
			if len(p.file.mountSources(c)) > 0 {
				return
			}
		}
	}
	p.all[0].DisplayName = ""
}

func (p *Plan) chooseTarget() error {
	want := p.options.Target
	if want == "" {
		p.Target = p.all[len(p.all)-1]
		return nil
	}
	for _, s := range slices.Backward(p.all) {
		if s.Name != "" && strings.EqualFold(s.Name, want) {
			p.Target = s
			return nil
		}
	}
	// A number is buildah's; BuildKit takes names only (moby/buildkit#1503), so that no file of its users means
	// another stage.
	if i, err := strconv.Atoi(want); err == nil && strconv.Itoa(i) == want && i >= 0 && i < len(p.all) {
		p.Target = p.all[i]
		return nil
	}
	var names, shown []string
	for _, s := range p.all[:min(len(p.all), 20)] {
		names = append(names, s.Name)
		shown = append(shown, s.title())
	}
	if len(p.all) > len(shown) {
		shown = append(shown, "…")
	}
	return p.file.errorAt(fmt.Errorf("target stage %q could not be found%s; the stages are %s",
		want, suggest.DidYouMean(want, names), strings.Join(shown, ", ")), 0, 0)
}

// chooseStages takes those that are built and checks them: a mistake in a stage that nobody needs
// is no error for BuildKit.
func (p *Plan) chooseStages() error {
	needed := make([]bool, len(p.all))
	needed[p.Target.Index] = true
	all := p.options.Dialect.File.WholeFile || p.options.AllStages && p.options.Target == ""
	for _, s := range slices.Backward(p.all[:p.Target.Index+1]) {
		if !needed[s.Index] && !all {
			continue
		}
		if err := s.check(); err != nil {
			return err
		}
		p.Stages = append(p.Stages, s)
		for _, n := range s.Needs {
			needed[n.Index] = true
		}
		if s.Base.Stage != nil {
			needed[s.Base.Stage.Index] = true
		}
	}
	slices.Reverse(p.Stages)
	return nil
}

// Argument is the value that an argument has before the first FROM, whether an ARG there or the build gave it.
func (p *Plan) Argument(name string) (string, bool) { return p.global.Get(name) }

// count numbers what the two outputs number.
func (p *Plan) count() {
	position := 0
	next := func() int { position++; return position }
	for i := range p.file.globalArgs {
		cmd := &p.file.globalArgs[i]
		step := &Step{Place: Place{Text: cmd.String(), Position: next()}, EmptyLayer: true, file: p.file}
		step.Line, step.EndLine = lines(cmd.Location())
		p.Global = append(p.Global, step)
	}
	for _, s := range p.Stages {
		s.Position = next()
		position += len(s.source.Commands)
	}
	for _, s := range p.all { // also those that only a trigger needs
		s.Total = s.vertices()
	}
	p.Steps = position
	if p.options.Dialect.File.LabelSteps {
		p.Steps += len(p.options.Labels)
	}
}

// warnUnusedArgs names the build arguments that no ARG of the built stages declares, in the words of Docker's builder.
func (p *Plan) warnUnusedArgs() {
	declared := p.file.declaredArgs(p.Stages)
	automatic := automaticArgs(Options{}, "")
	var unused []string
	for _, name := range sortedKeys(p.options.Args) {
		_, isAutomatic := automatic.Get(name)
		builtin := isAutomatic || name == "SOURCE_DATE_EPOCH" || strings.HasPrefix(name, "BUILDKIT_")
		if !declared[name] && !IsProxyArg(name) && !(builtin && p.options.Dialect.File.BuildKitArgs) {
			unused = append(unused, name)
		}
	}
	if p.unused = unused; len(unused) > 0 {
		p.warn(p.unusedArgs(unused))
	}
}

func (p *Plan) unusedArgs(names []string) Warning {
	declared := slices.Sorted(maps.Keys(p.file.declaredArgs(p.Stages)))
	text := fmt.Sprintf("[Warning] One or more build-args %v were not consumed", names)
	for _, name := range names {
		text += suggest.DidYouMean(name, declared)
	}
	return Warning{Message: text}
}

// useArg notes that a trigger of a base image declares an argument, which the plan could not know.
func (p *Plan) useArg(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unused = slices.DeleteFunc(slices.Clone(p.unused), func(unused string) bool { return unused == name })
}
