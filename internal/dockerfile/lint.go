package dockerfile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/util/suggest"
)

// Warning is something that builds but is probably not meant.
type Warning struct {
	Rule    string // BuildKit's name of the rule, "" for what is not one of its rules
	Line    int    // 0 if no line is to blame
	Message string
}

// String is the warning on one line, as BuildKit prints it.
func (w Warning) String() string {
	if w.Rule == "" {
		return w.Message
	}
	return linter.LintFormatShort(w.Rule, w.Message, w.Line)
}

// lintRules is what the `# check=` line says: which rules apply, and whether a finding is an error.
type lintRules struct{ config linter.Config }

func (f *File) readLintRules() error {
	text, _, at, _ := parser.ParseDirective("check", f.Source)
	config, err := linter.ParseLintOptions(text)
	if err != nil {
		return f.errorIn(err, at)
	}
	f.lint.config = *config
	return nil
}

// linter gives what it finds to found.
func (l lintRules) linter(found func(Warning)) *linter.Linter {
	config := l.config
	config.Warn = func(rule, _, _, message string, at []parser.Range) {
		line, _ := lines(at)
		found(Warning{Rule: rule, Line: line, Message: message})
	}
	return linter.New(&config)
}

// forbidden is the error that a finding is with `# check=error=true`.
func (f *File) forbidden(found []Warning) error {
	if !f.lint.config.ReturnAsError || len(found) == 0 {
		return nil
	}
	w := found[0]
	return f.errorAt(fmt.Errorf("%s: %s (an error because of the check=error=true line)", w.Rule, w.Message), w.Line, w.Line)
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

// lintUndeclared names the variables of a FROM line that no ARG declares.
func lintUndeclared(unset map[string]struct{}, declared []string, at []parser.Range, rules *linter.Linter) {
	for _, name := range sortedKeys(unset) {
		if slices.Contains(declared, name) {
			continue
		}
		near, _ := suggest.Search(name, declared, true)
		rules.Run(&linter.RuleUndefinedArgInFrom, at, linter.RuleUndefinedArgInFrom.Format(name, near))
	}
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
