package dockerfile

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/moby/buildkit/util/suggest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Options are what a build is told besides its Dockerfile.
type Options struct {
	Target   string            // name or index of the stage to build; "" is the last
	Args     map[string]string // --build-arg, one without a value already looked up in the environment
	Platform ocispec.Platform  // of this machine; what is empty is Go's own
	Labels   map[string]string // --label: set on the target after its last instruction
	Engine   Engine            // "" is Graph
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
}

// Stage is one FROM and the instructions after it.
type Stage struct {
	Index int
	Name  string // in lower case; "" without AS
	// DisplayName is what BuildKit shows in [build 2/5]: the name, or stage-1, or "" if the file has only one stage and
	// copies from no other image.
	DisplayName   string
	Text          string // the FROM instruction as written
	Line, EndLine int    // of the FROM instruction
	Base          Base
	Needs         []*Stage // what it copies from: COPY --from
	Images        []string // images, not stages, that it copies from
	Total         int      // how many numbers BuildKit's [n/Total] has, triggers of the base image not counted
	Position      int      // classic: of FROM, the i of Step i/N

	plan   *Plan
	source instructions.Stage

	mu  sync.Mutex
	end *scope // what the stage's walk left, for stages that start from it
}

// Base is what a stage starts from: exactly one of an image, another stage, or nothing.
type Base struct {
	Image    string // as written after expansion: debian:12
	Stage    *Stage
	Scratch  bool
	Platform string // --platform after expansion, "" if not said
}

// Plan finds out which stages there are to build. Errors are *Error.
func (f *File) Plan(o Options) (*Plan, error) {
	if o.Engine == "" {
		o.Engine = Graph
	}
	if o.Engine == Graph {
		if err := f.checkSyntax(); err != nil {
			return nil, err
		}
	}
	o.Platform = thisPlatform(o.Platform)
	p := &Plan{file: f, options: o, Warnings: slices.Clone(f.warnings)}
	rules := f.lint.linter(func(w Warning) { p.Warnings = append(p.Warnings, w) })
	lintStages(f.stages, rules)
	target := o.Target
	if target == "" {
		target = f.stages[len(f.stages)-1].Name
	}
	p.global = automaticArgs(o.Platform, target, o.Args)
	if err := f.expandGlobalArgs(p.global, o.Args); err != nil {
		return nil, err
	}
	if err := p.addStages(rules); err != nil {
		return nil, err
	}
	if err := p.chooseTarget(); err != nil {
		return nil, err
	}
	if err := p.chooseStages(); err != nil {
		return nil, err
	}
	p.count()
	if err := f.forbidden(p.Warnings); err != nil {
		return nil, err
	}
	p.warnUnusedArgs()
	return p, nil
}

func (f *File) lex() *shell.Lex { return shell.NewLex(f.escape) }

// addStages makes the stages of the whole file and finds what each refers to.
func (p *Plan) addStages(rules *linter.Linter) error {
	byName := map[string]*Stage{}
	for i, source := range p.file.stages {
		s := &Stage{Index: i, Name: source.Name, Text: source.SourceCode, plan: p, source: source}
		s.Line, s.EndLine = lines(source.Location)
		s.DisplayName = s.Name
		if s.Name == "" {
			s.DisplayName = "stage-" + strconv.Itoa(i)
		}
		if err := s.findBase(byName, rules.WithMergedConfigFromComments(source.Comments)); err != nil {
			return p.file.errorIn(err, source.Location)
		}
		if s.Name != "" {
			if other := byName[s.Name]; other != nil && p.options.Engine == Classic {
				// BuildKit warns only, and takes the later stage from there on.
				return p.file.errorIn(fmt.Errorf("the stage name %q is already used in line %d", s.Name, other.Line), source.Location)
			}
			byName[s.Name] = s
		}
		p.all = append(p.all, s)
	}
	p.nameAlone()
	return nil
}

// findBase expands the FROM line. byName holds the stages before this one: no other can be its base.
func (s *Stage) findBase(byName map[string]*Stage, rules *linter.Linter) error {
	x := expander{lex: s.plan.file.lex(), env: s.plan.global}
	name, err := x.word(s.source.BaseName)
	if err != nil {
		return err
	}
	lintUndeclared(name.unset, s.plan.global.Keys(), s.source.Location, rules)
	if name.text == "" {
		return fmt.Errorf("the name of the base image is empty: %s expands to nothing; give the ARG before FROM a default or pass --build-arg", s.source.BaseName)
	}
	platform, err := x.word(s.source.Platform)
	if err != nil {
		return err
	}
	lintUndeclared(platform.unset, s.plan.global.Keys(), s.source.Location, rules)
	if platform.text == "" && s.source.Platform != "" {
		return fmt.Errorf("--platform=%s expands to nothing", s.source.Platform)
	}
	if s.Base.Platform = platform.text; s.Base.Platform != "" {
		s.lintPlatform(platform, rules)
	}
	if stage := byName[strings.ToLower(name.text)]; stage != nil {
		s.Base.Stage = stage
	} else if name.text == "scratch" {
		s.Base.Scratch = true
	} else {
		s.Base.Image = name.text
	}
	return nil
}

// lintPlatform warns about a --platform that is always the same, or that says no more than leaving it out.
func (s *Stage) lintPlatform(platform expansion, rules *linter.Linter) {
	_, usesTarget := platform.used["TARGETPLATFORM"]
	target, _ := s.plan.global.Get("TARGETPLATFORM")
	if usesTarget && len(platform.used) == 1 && len(platform.unset) == 0 && platform.text == target {
		rules.Run(&linter.RuleRedundantTargetPlatform, s.source.Location, linter.RuleRedundantTargetPlatform.Format(s.source.Platform))
	}
	p, err := parsePlatform(platform.text, s.plan.options.Platform)
	if err != nil || len(platform.used)+len(platform.unset) > 0 || strings.Contains(s.Name, p.OS) || strings.Contains(s.Name, p.Architecture) {
		return
	}
	rules.Run(&linter.RuleFromPlatformFlagConstDisallowed, s.source.Location, linter.RuleFromPlatformFlagConstDisallowed.Format(platform.text))
}

// nameAlone takes the display name from a stage that is alone. BuildKit counts every image that a COPY names as one more.
func (p *Plan) nameAlone() {
	if len(p.all) > 1 {
		return
	}
	for _, c := range p.all[0].source.Commands {
		if cmd, ok := c.(*instructions.CopyCommand); ok && cmd.From != "" {
			return
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
	if i, err := strconv.Atoi(want); err == nil && i >= 0 && i < len(p.all) {
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
	err := suggest.WrapError(fmt.Errorf("target stage %q could not be found", want), want, names, false)
	return p.file.errorAt(fmt.Errorf("%w; the stages are %s", err, strings.Join(shown, ", ")), 0, 0)
}

// title is how an error calls the stage.
func (s *Stage) title() string {
	if s.Name != "" {
		return s.Name
	}
	return strconv.Itoa(s.Index)
}

// chooseStages takes those that are built and checks them: a mistake in a stage that nobody needs is no error for BuildKit.
func (p *Plan) chooseStages() error {
	needed := make([]bool, len(p.all))
	needed[p.Target.Index] = true
	for _, s := range slices.Backward(p.all[:p.Target.Index+1]) {
		if !needed[s.Index] && p.options.Engine != Classic {
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

// check looks at what can be known of a stage before its base image is: platform, references, what is not supported.
func (s *Stage) check() error {
	f := s.plan.file
	if s.Base.Platform != "" {
		want, err := parsePlatform(s.Base.Platform, s.plan.options.Platform)
		if err != nil {
			return f.errorIn(err, s.source.Location)
		}
		if here := s.plan.options.Platform; !samePlatform(want, here) {
			return f.errorIn(fmt.Errorf("--platform=%s: building for another platform than this machine's, %s, is not supported yet",
				platformString(want), platformString(here)), s.source.Location)
		}
	}
	for _, c := range s.source.Commands {
		if err := checkSupported(c); err != nil {
			return f.errorIn(err, c.Location())
		}
		cmd, ok := c.(*instructions.CopyCommand)
		if !ok || cmd.From == "" {
			continue
		}
		from, err := s.copySource(cmd.From)
		if err != nil {
			return f.errorIn(err, c.Location())
		}
		if from == nil && !slices.Contains(s.Images, cmd.From) {
			s.Images = append(s.Images, cmd.From)
		}
		if from != nil && !slices.Contains(s.Needs, from) {
			s.Needs = append(s.Needs, from)
		}
	}
	return nil
}

// copySource is the stage that COPY --from names, by name or index; nil if the name is an image's.
func (s *Stage) copySource(from string) (*Stage, error) {
	if strings.Contains(from, "$") {
		return nil, errors.New("COPY --from does not expand variables: name a stage FROM the variable, with its ARG before the first FROM, and copy from that stage")
	}
	all := s.plan.all
	if i, err := strconv.Atoi(from); err == nil {
		switch {
		case i >= 0 && i < s.Index:
			return all[i], nil
		case i >= 0 && i < len(all):
			return nil, fmt.Errorf("COPY --from=%d: stage %d does not come before this one, %s", i, i, s.title())
		}
		return nil, fmt.Errorf("COPY --from=%s: there is no stage of this index; this is stage %d, and only those before it can be copied from", from, s.Index)
	}
	for _, other := range slices.Backward(all[:s.Index]) {
		if other.Name != "" && strings.EqualFold(other.Name, from) {
			return other, nil
		}
	}
	for _, other := range all[s.Index:] {
		if other.Name == "" || !strings.EqualFold(other.Name, from) {
			continue
		}
		if other == s {
			return nil, fmt.Errorf("COPY --from=%s: a stage cannot copy from itself", from)
		}
		return nil, fmt.Errorf("COPY --from=%s: the stage %q in line %d must come before this one, %s", from, other.Name, other.Line, s.title())
	}
	return nil, nil
}

// count numbers what the two outputs number.
func (p *Plan) count() {
	position := 0
	next := func() int { position++; return position }
	for i := range p.file.globalArgs {
		cmd := &p.file.globalArgs[i]
		step := &Step{Text: cmd.String(), Position: next(), EmptyLayer: true, file: p.file}
		step.Line, step.EndLine = lines(cmd.Location())
		p.Global = append(p.Global, step)
	}
	for _, s := range p.Stages {
		s.Position = next()
		position += len(s.source.Commands)
		s.Total = s.vertices()
	}
	p.Steps = position
	if p.options.Engine == Classic {
		p.Steps += len(p.options.Labels)
	}
}

// vertices is BuildKit's total for [n/total]: a base image, and every instruction that touches files, WORKDIR / included
// though it makes no step.
func (s *Stage) vertices() int {
	n := 0
	if s.Base.Image != "" {
		n = 1
	}
	for _, c := range s.source.Commands {
		switch c.(type) {
		case *instructions.AddCommand, *instructions.CopyCommand, *instructions.RunCommand, *instructions.WorkdirCommand:
			n++
		}
	}
	return n
}

// warnUnusedArgs names the build arguments that no ARG of the built stages declares, in the words of Docker's builder.
func (p *Plan) warnUnusedArgs() {
	declared := p.file.declaredArgs(p.Stages)
	automatic := automaticArgs(p.options.Platform, "", nil)
	var unused []string
	for _, name := range sortedKeys(p.options.Args) {
		_, isAutomatic := automatic.Get(name)
		builtin := isAutomatic || name == "SOURCE_DATE_EPOCH" || strings.HasPrefix(name, "BUILDKIT_")
		if !declared[name] && !isProxyArg(name) && !(builtin && p.options.Engine == Graph) {
			unused = append(unused, name)
		}
	}
	if len(unused) > 0 {
		p.Warnings = append(p.Warnings, Warning{Message: fmt.Sprintf("[Warning] One or more build-args %v were not consumed", unused)})
	}
}
