package dockerfile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"

	"github.com/strata-build/strata/internal/human/suggest"
)

// instruction is one that is being applied.
type instruction struct {
	*Walk
	step  *Step
	c     instructions.Command
	rules *linter.Linter
	// hidden are variables that hold secrets: BuildKit shows them as **** (withSecretEnvMask).
	hidden []string
}

// apply carries out an instruction on the config and fills the step in.
func (w *Walk) apply(step *Step, c instructions.Command) error {
	in := &instruction{Walk: w, step: step, c: c, rules: w.rules.WithMergedConfigFromComments(c.Comments())}
	if text, ok := c.(fmt.Stringer); ok {
		step.Text = text.String()
	}
	step.Name = upperFirst(in.raw(step.Text))
	switch c := c.(type) {
	case *instructions.EnvCommand:
		return in.env(c)
	case *instructions.ArgCommand:
		return in.arg(c)
	case *instructions.LabelCommand:
		return in.label(c)
	case *instructions.MaintainerCommand:
		w.author = c.Maintainer
		in.row("MAINTAINER " + c.Maintainer)
	case *instructions.OnbuildCommand:
		w.config.OnBuild = append(w.config.OnBuild, c.Expression)
		in.row("ONBUILD " + c.Expression)
		step.row.none = !w.dialect.Steps.ShellRows
	case *instructions.CmdCommand:
		in.cmd(c)
	case *instructions.EntrypointCommand:
		in.entrypoint(c)
	case *instructions.HealthCheckCommand:
		in.healthcheck(c)
	case *instructions.ExposeCommand:
		return in.expose(c)
	case *instructions.UserCommand:
		return in.user(c)
	case *instructions.VolumeCommand:
		return in.volume(c)
	case *instructions.StopSignalCommand:
		return in.stopSignal(c)
	case *instructions.ShellCommand:
		w.config.Shell = slices.Clone(c.Shell)
		in.row(fmt.Sprintf("SHELL %v", c.Shell))
	case *instructions.RunCommand:
		return in.run(c)
	case *instructions.WorkdirCommand:
		return in.workdir(c)
	case *instructions.CopyCommand:
		return in.copyFiles(copyArgs{
			SourcesAndDest: c.SourcesAndDest, from: c.From, chown: c.Chown, chmod: c.Chmod,
			link: c.Link, parents: c.Parents, exclude: c.ExcludePatterns,
		})
	case *instructions.AddCommand:
		return in.copyFiles(copyArgs{
			SourcesAndDest: c.SourcesAndDest, add: true, chown: c.Chown, chmod: c.Chmod,
			link: c.Link, exclude: c.ExcludePatterns, unpack: c.Unpack, keepGitDir: c.KeepGitDir, checksum: c.Checksum,
		})
	default:
		return fmt.Errorf("%s is not supported", strings.ToUpper(c.Name()))
	}
	return nil
}

// expand expands a word in the environment of this place.
func (in *instruction) expand(word string) (string, error) {
	x := expander{lex: in.stage.plan.file.lex(), env: in.scope.env}
	r, err := x.word(word)
	if err != nil {
		return "", err
	}
	in.lintUnset(r.unset)
	return r.text, nil
}

// raw expands what is set and keeps quotes, as BuildKit does for the names that it shows. A text that cannot be
// expanded stays.
func (in *instruction) raw(text string) string {
	lex := in.stage.plan.file.lex()
	lex.RawQuotes = true
	lex.SkipUnsetEnv = true
	env := in.scope.env
	if len(in.hidden) > 0 {
		env = env.clone()
		for _, name := range in.hidden {
			env.set(name, "****")
		}
	}
	r, err := expander{lex: lex, env: env}.word(text)
	if err != nil {
		return text
	}
	return r.text
}

// vertex gives the step its number and, if it is no RUN, a name with quotes processed.
func (in *instruction) vertex() {
	in.number++
	in.step.Number, in.step.Total = in.number, in.total
	if _, isRun := in.c.(*instructions.RunCommand); isRun {
		return
	}
	r, err := expander{lex: in.stage.plan.file.lex(), env: in.scope.env}.word(in.step.Text)
	if err != nil {
		r.text = in.step.Text
	}
	in.step.Name = upperFirst(r.text)
}

func upperFirst(text string) string {
	first, rest, found := strings.Cut(text, " ")
	if !found {
		return strings.ToUpper(first)
	}
	return strings.ToUpper(first) + " " + rest
}

func (in *instruction) lintUnset(unset map[string]struct{}) {
	if in.baseUnknown {
		return
	}
	for _, name := range sortedKeys(unset) {
		if _, declared := in.scope.argAt[name]; declared {
			continue
		}
		near := suggest.Near(name, in.scope.env.Keys())
		in.rules.Run(&linter.RuleUndefinedVar, in.c.Location(), linter.RuleUndefinedVar.Format(name, near))
	}
}

// row is the history row of an instruction that changes only the config: BuildKit's is the text itself.
func (in *instruction) row(text string) {
	in.step.row.text = text
	if in.dialect.Steps.ShellRows {
		in.step.row.text = nop(in.shell(), " ", text)
	}
}

// shell is what the shell form puts in front.
func (w *Walk) shell() []string {
	if len(w.config.Shell) > 0 {
		return slices.Clone(w.config.Shell)
	}
	return []string{"/bin/sh", "-c"}
}

// commandLine is the argv of CMD, ENTRYPOINT and RUN.
func (in *instruction) commandLine(c instructions.ShellDependantCmdLine) []string {
	switch {
	case !c.PrependShell || in.dialect.Config.EmptyCommands && c.CmdLine == nil:
		return slices.Clone(c.CmdLine)
	case in.dialect.Config.EmptyCommands && len(c.CmdLine) == 0:
		return in.shell() // resolveCmdLine in dispatchers.go; BuildKit gives the shell an empty command
	}
	return append(in.shell(), strings.Join(c.CmdLine, " "))
}

func (in *instruction) env(c *instructions.EnvCommand) error {
	text := "ENV"
	set := make([]buildArg, len(c.Env))
	for i, kv := range c.Env { // all in the environment before the instruction
		name, err := in.expand(kv.Key)
		if err != nil {
			return err
		}
		value, err := in.expand(kv.Value)
		if err != nil {
			return err
		}
		set[i] = buildArg{name: name, value: value}
		if kv.NoDelim {
			in.rules.Run(&linter.RuleLegacyKeyValueFormat, c.Location(), linter.RuleLegacyKeyValueFormat.Format(c.Name()))
		}
	}
	for _, v := range set {
		lintSecret("ENV", v.name, c.Location(), in.rules)
		in.setEnv(v.name, v.value)
		in.scope.env.set(v.name, v.value)
		text += " " + v.name + "=" + v.value
	}
	in.row(text)
	return nil
}

func (in *instruction) label(c *instructions.LabelCommand) error {
	labels := maps.Clone(in.config.Labels)
	if labels == nil {
		labels = make(map[string]string, len(c.Labels))
	}
	text := "LABEL"
	expanded := *c
	expanded.Labels = slices.Clone(c.Labels)
	if err := expanded.Expand(in.expand); err != nil { // knows which labels are not to be expanded: those of --label
		return err
	}
	for _, kv := range expanded.Labels {
		if kv.NoDelim {
			if c.Location() != nil {
				in.rules.Run(&linter.RuleLegacyKeyValueFormat, c.Location(), linter.RuleLegacyKeyValueFormat.Format(c.Name()))
			}
		}
		labels[kv.Key] = kv.Value
		text += " " + kv.Key + "=" + kv.Value
	}
	in.config.Labels = labels
	in.row(text)
	return nil
}

// once warns about the earlier of two instructions of which only the last counts.
func (in *instruction) once() {
	name := strings.ToLower(in.c.Name())
	if before, ok := in.seen[name]; ok {
		in.rules.Run(&linter.RuleMultipleInstructionsDisallowed, before, linter.RuleMultipleInstructionsDisallowed.Format(in.c.Name()))
	}
	in.seen[name] = in.c.Location()
}

func (in *instruction) lintShellForm(c instructions.ShellDependantCmdLine) {
	if c.PrependShell && len(in.config.Shell) == 0 {
		in.rules.Run(&linter.RuleJSONArgsRecommended, in.c.Location(), linter.RuleJSONArgsRecommended.Format(in.c.Name()))
	}
}

func (in *instruction) cmd(c *instructions.CmdCommand) {
	in.once()
	in.lintShellForm(c.ShellDependantCmdLine)
	args := in.commandLine(c.ShellDependantCmdLine)
	in.config.Cmd = args
	in.argsEscaped(c.ShellDependantCmdLine, true)
	in.cmdSet = in.cmdSet || !in.dialect.Config.EmptyCommands || len(c.CmdLine) > 0
	in.row(fmt.Sprintf("CMD %q", args))
}

// argsEscaped follows both builders in a field that means something on Windows only: BuildKit sets it with every CMD
// and leaves it with ENTRYPOINT, the classic builder clears it with both unless they are empty.
func (in *instruction) argsEscaped(c instructions.ShellDependantCmdLine, isCmd bool) {
	switch {
	case in.dialect.Config.EmptyCommands && len(c.CmdLine) > 0:
		//lint:ignore SA1019 deprecated, but part of the image ID
		in.config.ArgsEscaped = false
	case !in.dialect.Config.EmptyCommands && isCmd:
		//lint:ignore SA1019 deprecated, but part of the image ID
		in.config.ArgsEscaped = true
	}
}

// entrypoint drops a CMD that the stage inherited, as both builders do.
func (in *instruction) entrypoint(c *instructions.EntrypointCommand) {
	in.once()
	in.lintShellForm(c.ShellDependantCmdLine)
	args := in.commandLine(c.ShellDependantCmdLine)
	in.config.Entrypoint = args
	in.argsEscaped(c.ShellDependantCmdLine, false)
	if !in.cmdSet {
		in.config.Cmd = nil
	}
	in.row(fmt.Sprintf("ENTRYPOINT %q", args))
}

func (in *instruction) user(c *instructions.UserCommand) error {
	user, err := in.expand(c.User)
	if err != nil {
		return err
	}
	in.config.User = user
	in.row("USER " + user)
	return nil
}

func (in *instruction) volume(c *instructions.VolumeCommand) error {
	volumes := maps.Clone(in.config.Volumes)
	if volumes == nil {
		volumes = map[string]struct{}{}
	}
	names := make([]string, len(c.Volumes))
	for i, v := range c.Volumes {
		name, err := in.expand(v)
		if err != nil {
			return err
		}
		if name == "" {
			return fmt.Errorf("VOLUME %s: the path is empty", v)
		}
		names[i] = name
		volumes[name] = struct{}{}
	}
	in.config.Volumes = volumes
	in.row(fmt.Sprintf("VOLUME %v", names))
	return nil
}

func (in *instruction) stopSignal(c *instructions.StopSignalCommand) error {
	signal, err := in.expand(c.Signal)
	if err != nil {
		return err
	}
	if !isSignal(signal) {
		return fmt.Errorf("STOPSIGNAL %s: there is no such signal; use a name such as SIGTERM or a number", signal)
	}
	in.config.StopSignal = signal
	in.row("STOPSIGNAL " + signal)
	return nil
}
