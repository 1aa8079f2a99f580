package dockerfile

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/image"
)

// Walk is the way through one stage. It is not for use by two goroutines at once.
type Walk struct {
	cursor
	lint
	stage    *Stage
	dialect  dialect.Dialect
	failed   bool
	ports    int // named by EXPOSE so far
	config   image.Runtime
	envAt    map[string]int // name → index in config.Env
	scope    *scope
	cmdSet   bool            // a CMD of this stage: ENTRYPOINT keeps it
	declared map[string]bool // classic: names after ARG
	author   string
}

// cursor is how far a walk has come.
type cursor struct {
	triggers, commands []instructions.Command
	files              bool // the files of a named context are the next step
	next               int  // in triggers, then commands
	number, total      int
}

// lint is what a walk finds that is probably not meant.
type lint struct {
	seen     map[string][]parser.Range // CMD, ENTRYPOINT, HEALTHCHECK: where last
	rules    *linter.Linter
	warnings []Warning
	outline  *outline
	// baseUnknown says that the variables of the base image are not known.
	baseUnknown bool
}

// scope is what a stage knows besides its config: the variables that expansion sees, and the build arguments.
type scope struct {
	env *environ
	// args are the ARGs in their order (graph) or all that have a value (classic).
	args       []buildArg
	argAt      map[string]int
	workdirSet bool
	author     string
}

type buildArg struct {
	name, value string
	unset       bool
}

func (s *scope) setArg(name, value string) {
	if i, ok := s.argAt[name]; ok {
		s.args[i] = buildArg{name: name, value: value}
		return
	}
	s.argAt[name] = len(s.args)
	s.args = append(s.args, buildArg{name: name, value: value})
}

func (s *scope) clone() *scope {
	return &scope{env: s.env.clone(), args: slices.Clone(s.args), argAt: maps.Clone(s.argAt), workdirSet: s.workdirSet, author: s.author}
}

// Walk begins the stage with the config of what it starts from: the base image's, the final one of the stage that is
// its base (whose own walk must have come to its end), or an empty one. It is not changed.
//
// The base's ONBUILD triggers become the first steps and leave the config. A trigger can copy from a stage that is not
// among the plan's Stages.
func (s *Stage) Walk(base image.Runtime) (*Walk, error) {
	w := &Walk{
		cursor: cursor{commands: s.source.Commands, total: s.Total, files: s.Base.Named != ""},
		lint:   lint{seen: map[string][]parser.Range{}},
		stage:  s, dialect: s.plan.options.Dialect, config: image.CloneRuntime(base),
	}
	told := Tally{}
	w.rules = s.plan.lint.linter(func(found Warning) {
		w.warnings = append(w.warnings, found)
		s.found(found, told.Number(found))
	})
	if s.Base.Image != "" || s.Base.Named != "" {
		w.number = 1
	}
	if err := w.enter(); err != nil {
		return nil, s.plan.file.errorIn(err, s.source.Location)
	}
	if err := w.addTriggers(); err != nil {
		return nil, s.plan.file.errorIn(err, s.source.Location)
	}
	w.addLabelSteps()
	return w, nil
}

// IgnoreUndefined leaves variables that are not defined alone, since the config of the base image is not known.
func (w *Walk) IgnoreUndefined() { w.baseUnknown = true }

// enter sets up the config and the environment before the first instruction.
func (w *Walk) enter() error {
	s := w.stage
	if s.Base.Empty() && w.dialect.Config.ScratchHasRoot && w.config.WorkingDir == "" {
		w.config.WorkingDir = "/" // BuildKit's emptyImage
	}
	w.envAt = make(map[string]int, len(w.config.Env))
	for i, kv := range w.config.Env {
		name, _ := cutVariable(kv)
		if _, ok := w.envAt[name]; !ok {
			w.envAt[name] = i
		}
	}
	if _, ok := w.envAt["PATH"]; !ok {
		w.setEnv("PATH", image.DefaultPath)
	}
	if dir := w.config.WorkingDir; dir != "" && !strings.HasPrefix(dir, "/") {
		w.config.WorkingDir = "/" + dir
	}
	w.scope = &scope{env: newEnviron(nil), argAt: map[string]int{}}
	w.outline = s.plan.outline.clone()
	// BuildKit hands the arguments of a stage on to those that start from it (dispatchState.init). Docker's classic
	// builder did not (ResetAllowed).
	if s.Base.Stage != nil && !w.dialect.Config.EnvWins {
		s.Base.Stage.mu.Lock()
		end := s.Base.Stage.end
		s.Base.Stage.mu.Unlock()
		if end == nil {
			return fmt.Errorf("the stage %s has to be walked to its end before this one, which starts from it", s.Base.Stage.title())
		}
		w.scope = end.clone()
		w.author = end.author
		w.outline = s.Base.Stage.outline.clone()
	}
	if w.outline != nil {
		maps.Copy(w.outline.used, s.fromArgs)
	}
	for _, kv := range w.config.Env {
		w.scope.env.set(cutVariable(kv))
	}
	if w.dialect.Config.EnvWins {
		// The predefined arguments are visible without ARG (GetAllAllowed in buildargs.go).
		for _, name := range sortedKeys(s.plan.options.Args) {
			if IsProxyArg(name) {
				w.showArg(name, s.plan.options.Args[name])
			}
		}
	}
	return nil
}

// addTriggers turns the base's ONBUILD triggers into steps.
func (w *Walk) addTriggers() error {
	triggers := w.config.OnBuild
	w.config.OnBuild = nil
	for _, text := range triggers {
		parsed, err := parser.Parse(strings.NewReader(text))
		if err != nil {
			return fmt.Errorf("the base image's ONBUILD %q: %w", text, reason(err))
		}
		if len(parsed.AST.Children) != 1 {
			return fmt.Errorf("the base image's ONBUILD %q is not one instruction", text)
		}
		node := parsed.AST.Children[0]
		node.StartLine, node.EndLine = w.stage.Line, w.stage.EndLine
		c, err := instructions.ParseCommand(node)
		if err == nil {
			err = checkSupported(c, w.stage.plan.options)
		}
		if err != nil {
			return fmt.Errorf("the base image's ONBUILD %q: %w", text, reason(err))
		}
		w.triggers = append(w.triggers, c)
	}
	w.total += len(triggers) // all of them, also those without a step: initOnBuildTriggers in convert.go
	return nil
}

// reason is the error without the places that BuildKit's parser wraps around it.
func reason(err error) error {
	var located *parser.LocationError
	if errors.As(err, &located) {
		return located.Unwrap()
	}
	return err
}

// addLabelSteps adds a LABEL for every --label to the target of a classic build, sorted, as
// Docker's buildLabelOptions does.
func (w *Walk) addLabelSteps() {
	p := w.stage.plan
	if !w.dialect.File.LabelSteps || w.stage != p.Target || len(p.options.Labels) == 0 {
		return
	}
	w.commands = slices.Clone(w.commands)
	for _, name := range sortedKeys(p.options.Labels) {
		w.commands = append(w.commands, instructions.NewLabelCommand(name, p.options.Labels[name], true))
	}
}

// Next is the next step, or io.EOF after the last one. Other errors are *Error.
func (w *Walk) Next() (*Step, error) {
	if w.failed || !w.files && w.next == len(w.triggers)+len(w.commands) {
		if !w.failed {
			w.finish()
		}
		return nil, io.EOF
	}
	if w.files {
		w.files = false
		return w.contextStep(), nil
	}
	i := w.next
	w.next++
	step := &Step{Stage: w.stage, Place: Place{Line: w.stage.Line, EndLine: w.stage.EndLine}, file: w.stage.plan.file, EmptyLayer: true}
	var c instructions.Command
	if i < len(w.triggers) {
		c = w.triggers[i]
		step.OnBuild = true
	} else {
		i -= len(w.triggers)
		c = w.commands[i]
		step.Position = w.stage.Position + 1 + i
		if len(c.Location()) > 0 {
			step.Line, step.EndLine = lines(c.Location())
		}
	}
	if err := w.apply(step, c); err != nil {
		w.failed = true
		return nil, step.Err(err)
	}
	step.Config = shareConfig(w.config)
	step.Author = w.author
	return step, nil
}

// finish leaves to the stages that start from this one what they inherit, and sets --label on the target.
func (w *Walk) finish() {
	p := w.stage.plan
	if !w.dialect.File.LabelSteps && w.stage == p.Target && len(p.options.Labels) > 0 {
		labels := maps.Clone(w.config.Labels)
		if labels == nil {
			labels = map[string]string{}
		}
		maps.Copy(labels, p.options.Labels)
		w.config.Labels = labels
	}
	w.scope.author = w.author
	w.stage.mu.Lock()
	w.stage.end, w.stage.outline = w.scope, w.outline
	w.stage.mu.Unlock()
}

// Config is the config after all steps so far, as a copy. After io.EOF it has the --labels of the target too, which
// BuildKit sets without a step.
func (w *Walk) Config() image.Runtime { return image.CloneRuntime(w.config) }

// Warnings are the lint findings of the steps so far.
func (w *Walk) Warnings() []Warning { return slices.Clone(w.warnings) }

// Author is the author that a MAINTAINER set, "" if none did.
func (w *Walk) Author() string { return w.author }

// shareConfig is c in a form that w can go on appending to: no slice has room behind its end.
func shareConfig(c image.Runtime) image.Runtime {
	c.Env = slices.Clip(c.Env)
	c.OnBuild = slices.Clip(c.OnBuild)
	return c
}

// setEnv sets a variable of the config where it stands, or at the end: Docker's and BuildKit's addEnv. What was handed
// out with earlier steps stays as it was.
func (w *Walk) setEnv(name, value string) {
	kv := name + "=" + value
	i, ok := w.envAt[name]
	if !ok {
		w.envAt[name] = len(w.config.Env)
		w.config.Env = append(w.config.Env, kv)
		return
	}
	if w.config.Env[i] != kv {
		w.config.Env = slices.Clone(w.config.Env)
		w.config.Env[i] = kv
	}
}
