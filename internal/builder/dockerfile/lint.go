package dockerfile

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/human/suggest"
	"github.com/strata-build/strata/internal/image/platform"
)

// Warning is something that builds but is probably not meant.
type Warning struct {
	Rule        string // BuildKit's name of the rule, "" for what is not one of its rules
	Description string // what the rule wants
	URL         string // of the rule's documentation
	Message     string
	Line        int     // the first; 0 if no line is to blame
	Ranges      []Range // the lines, one range for each
}

// Range is a part of the Dockerfile, as BuildKit's JSON has it: lines are counted from 1, characters from 0.
type Range struct {
	Start Position `json:"start"`
	End   Position `json:"end"`
}

// Position is a place in the Dockerfile.
type Position struct {
	Line      int `json:"line,omitempty"`
	Character int `json:"character,omitempty"`
}

// String is the warning on one line, as BuildKit prints it.
func (w Warning) String() string {
	if w.Rule == "" {
		return w.Message
	}
	return linter.LintFormatShort(w.Rule, w.Message, w.Line)
}

func ranges(at []parser.Range) []Range {
	list := make([]Range, len(at))
	for i, r := range at {
		list[i] = Range{Position(r.Start), Position(r.End)}
	}
	return list
}

// lintRules says which rules apply, and whether a finding is an error: what the `# check=` line wants, or the build
// argument that replaces it.
type lintRules struct{ config linter.Config }

// checkArg is the build argument that replaces the `# check=` line.
const checkArg = "BUILDKIT_DOCKERFILE_CHECK"

func (f *File) readLintRules() error {
	text, _, at, _ := parser.ParseDirective("check", f.Source)
	config, err := linter.ParseLintOptions(text)
	if err != nil {
		return f.errorIn(fmt.Errorf("check=%s: %w; write skip=RULE,RULE, error=true or experimental=RULE, with ; between them", text, err), at)
	}
	f.lint.config = *config
	return nil
}

// Warnings are those found while parsing.
func (f *File) Warnings() []Warning { return slices.Clone(f.warnings) }

// chooseLintRules takes the rules of the build argument if there is one, and looks at the instructions again with them.
func (p *Plan) chooseLintRules() error {
	text, ok := p.options.Args[checkArg]
	if !ok {
		p.lint = p.file.lint
		for _, w := range p.file.warnings {
			p.warn(w)
		}
		return nil
	}
	config, err := linter.ParseLintOptions(text)
	if err != nil {
		return fmt.Errorf("--build-arg %s=%s: %w; write skip=RULE,RULE, error=true or experimental=RULE, with ; between them", checkArg, text, err)
	}
	p.lint = lintRules{config: *config}
	parsed, err := parser.Parse(bytes.NewReader(p.file.Source))
	if err == nil {
		rules := p.lint.linter(p.warn)
		lintParsed(parsed, rules)
		_, _, err = instructions.Parse(parsed.AST, rules)
	}
	if err != nil {
		return p.file.parseError(err)
	}
	return nil
}

// linter gives what it finds to found.
func (l lintRules) linter(found func(Warning)) *linter.Linter {
	config := l.config
	config.Warn = func(rule, description, url, message string, at []parser.Range) {
		line, _ := lines(at)
		found(Warning{Rule: rule, Description: description, URL: url, Message: message, Line: line, Ranges: ranges(at)})
	}
	return linter.New(&config)
}

// Strict says that a finding of one of BuildKit's rules fails the build: `# check=error=true`.
func (p *Plan) Strict() bool { return p.lint.config.ReturnAsError }

// Violation is the error that findings are if the plan is strict, nil without findings: an *Error in BuildKit's words.
func (p *Plan) Violation(found []Warning) error {
	var rules []string
	for _, w := range found {
		if w.Rule != "" {
			rules = append(rules, w.Rule)
		}
	}
	if !p.Strict() || len(rules) == 0 {
		return nil
	}
	slices.Sort(rules)
	return p.file.errorAt(fmt.Errorf("lint violation found for rules: %s", strings.Join(slices.Compact(rules), ", ")), 0, 0)
}

// Findings are all warnings so far: those of the plan, then those of each stage that was walked, once each. Once all
// stages were, an argument that only a trigger of a base image declares is no unused one.
func (p *Plan) Findings() []Warning {
	all := slices.DeleteFunc(slices.Clone(p.Warnings), func(w Warning) bool { return w.Rule == "" })
	p.mu.Lock()
	if len(p.unused) > 0 {
		all = append(all, p.unusedArgs(p.unused))
	}
	p.mu.Unlock()
	for _, s := range p.all {
		s.mu.Lock()
		all = append(all, s.warnings...)
		s.mu.Unlock()
	}
	return all
}

// Tally tells apart the findings of one text: an instruction can be found fault with twice for the same reason.
type Tally map[string]int

// Number counts a finding: the first of its text is 1.
func (t Tally) Number(w Warning) int {
	t[w.String()]++
	return t[w.String()]
}

// found keeps a warning, the n-th of its text in a walk, unless another walk through the stage had as many already.
func (s *Stage) found(w Warning, n int) {
	s.mu.Lock()
	known := s.warned[w.String()] >= n
	if !known {
		if s.warned == nil {
			s.warned = Tally{}
		}
		s.warned.Number(w)
		s.warnings = append(s.warnings, w)
	}
	s.mu.Unlock()
	if !known && s.plan.options.Found != nil {
		s.plan.options.Found(w)
	}
}

func lintParsed(parsed *parser.Result, rules *linter.Linter) {
	for _, w := range parsed.Warnings {
		if w.URL == linter.RuleNoEmptyContinuation.URL && w.Location != nil {
			rules.Run(&linter.RuleNoEmptyContinuation, []parser.Range{*w.Location}, linter.RuleNoEmptyContinuation.Format())
		}
	}
}

// lintStages looks at the names of stages and at how instructions are written, for the file as a whole.
func lintStages(stages []instructions.Stage, rules *linter.Linter) {
	seen := map[string]bool{}
	for _, s := range stages {
		if s.Name == "" {
			continue
		}
		if s.Name == "context" || s.Name == "scratch" {
			rules.Run(&linter.RuleReservedStageName, s.Location, linter.RuleReservedStageName.Format(s.Name))
		}
		if seen[s.Name] {
			rules.Run(&linter.RuleDuplicateStageName, s.Location, linter.RuleDuplicateStageName.Format(s.Name))
		}
		seen[s.Name] = true
	}
	lintCasing(stages, rules)
}

// lintCasing wants all instructions in the case that most of them have.
func lintCasing(stages []instructions.Stage, rules *linter.Linter) {
	lower, upper := 0, 0
	each := func(visit func(name string, at []parser.Range)) {
		for _, s := range stages {
			visit(s.OrigCmd, s.Location)
			for _, c := range s.Commands {
				visit(c.Name(), c.Location())
			}
		}
	}
	each(func(name string, _ []parser.Range) {
		switch name {
		case strings.ToLower(name):
			lower++
		case strings.ToUpper(name):
			upper++
		}
	})
	want, inWant := "uppercase", strings.ToUpper
	if lower > upper {
		want, inWant = "lowercase", strings.ToLower
	}
	each(func(name string, at []parser.Range) {
		if name != inWant(name) {
			rules.Run(&linter.RuleConsistentInstructionCasing, at, linter.RuleConsistentInstructionCasing.Format(name, want))
		}
	})
}

// lintDefaultBases looks at the names of base images as they are without build arguments: BuildKit's
// validateBaseImagesWithDefaultArgs.
func (p *Plan) lintDefaultBases(target string, rules *linter.Linter) {
	env := automaticArgs(p.options, target)
	if p.file.expandGlobalArgs(env, nil, nil) != nil {
		return // the build fails for it, or needs the arguments
	}
	x := expander{lex: p.file.lex(), env: env}
	for _, s := range p.file.stages {
		name, err := x.word(s.BaseName)
		if err != nil {
			return
		}
		if _, err := reference.ParseNormalizedNamed(name.text); err != nil {
			rules.Run(&linter.RuleInvalidDefaultArgInFrom, s.Location, linter.RuleInvalidDefaultArgInFrom.Format(s.BaseName))
		}
	}
}

// lintUndeclared names the variables of a FROM line that no ARG declares. One that is declared and has no value is not
// among them.
func (s *Stage) lintUndeclared(unset map[string]struct{}, rules *linter.Linter) {
	declared := s.plan.file.declaredArgs(nil)
	for _, name := range s.plan.global.Keys() {
		declared[name] = true
	}
	for _, name := range sortedKeys(unset) {
		if declared[name] {
			continue
		}
		near := suggest.Near(name, slices.Sorted(maps.Keys(declared)))
		rules.Run(&linter.RuleUndefinedArgInFrom, s.source.Location, linter.RuleUndefinedArgInFrom.Format(name, near))
	}
}

// LintBase warns of a base image that is for another platform than the stage: BuildKit's validateBaseImagePlatform. One
// that does not say what it is for is taken for the right one.
func (s *Stage) LintBase(have ocispec.Platform) {
	have, want := platform.Normal(have), platform.Normal(s.Platform)
	if have.OS == "" || have.Architecture == "" || have.OS == want.OS && have.Architecture == want.Architecture {
		return
	}
	rules := s.plan.lint.linter(func(w Warning) { s.found(w, 1) })
	rules.Run(&linter.RuleInvalidBaseImagePlatform, s.source.Location,
		linter.RuleInvalidBaseImagePlatform.Format(s.Base.Image, platform.Format(want), platform.Format(have)))
}

// lintIgnored warns about a source of the context that .dockerignore leaves out.
func (in *instruction) lintIgnored(name, source string) {
	ignored := in.stage.plan.options.Ignored
	if !in.dialect.File.Lint || ignored == nil || !ignored(source) {
		return
	}
	source = path.Clean(source)
	in.rules.Run(&linter.RuleCopyIgnoredFile, in.c.Location(), linter.RuleCopyIgnoredFile.Format(name[:1]+strings.ToLower(name[1:]), source))
}

// secretWords and publicWords decide which names of variables look like secrets: BuildKit's SecretsUsedInArgOrEnv.
var (
	secretWords = []string{"apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"}
	publicWords = []string{"public", "file", "version"}
)

func lintSecret(instruction, name string, at []parser.Range, rules *linter.Linter) {
	words := strings.Split(strings.ToLower(name), "_")
	among := func(list []string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return slices.Contains(list, w) })
	}
	if among(secretWords) && !among(publicWords) {
		rules.Run(&linter.RuleSecretsUsedInArgOrEnv, at, linter.RuleSecretsUsedInArgOrEnv.Format(instruction, name))
	}
}
