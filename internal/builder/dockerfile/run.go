package dockerfile

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

func (in *instruction) run(c *instructions.RunCommand) error {
	run := &Run{
		Shell:    c.PrependShell,
		Dir:      in.config.WorkingDir,
		User:     in.config.User,
		Network:  instructions.GetNetwork(c),
		Insecure: instructions.GetSecurity(c) == instructions.SecurityInsecure,
	}
	var err error
	if run.Mounts, err = in.mounts(c); err != nil {
		return err
	}
	for _, m := range run.Mounts {
		if m.Env != nil {
			in.hidden = append(in.hidden, *m.Env)
		}
	}
	if len(in.hidden) > 0 {
		in.step.Name = upperFirst(in.raw(in.step.Text))
	}
	line, err := in.inline(c, run)
	if err != nil {
		return err
	}
	run.Args = in.commandLine(line)
	if len(run.Args) == 0 || in.dialect.Config.EmptyCommands && len(c.CmdLine) == 0 {
		return errors.New("RUN without a command")
	}
	if run.Dir == "" {
		run.Dir = "/"
	}
	for _, m := range run.Mounts {
		in.outline.mount(m, ranges(c.Location()))
	}
	in.step.Run = run
	in.step.EmptyLayer = false
	in.vertex()
	if in.dialect.Config.EnvWins {
		in.classicRun(run)
	} else {
		in.graphRun(run)
	}
	return nil
}

// graphRun: every ARG of the stage is in the history, in the order of their first ARG, with the value that the variable
// has now (runCommandString in convert.go).
func (in *instruction) graphRun(run *Run) {
	run.Env = in.scope.env.list()
	run.ProxyEnv = proxyEnv(in.stage.plan.options.Args)
	for _, a := range in.scope.args {
		value, ok := in.scope.env.Get(a.name)
		if !ok {
			value = a.value
		}
		run.BuildArgs = append(run.BuildArgs, a.name+"="+value)
	}
	in.step.row.text = "RUN " + withBuildArgs(run.BuildArgs, run.Args, len(run.BuildArgs) > 0) + " # buildkit"
}

// classicRun: the arguments that the config does not hide, sorted; predefined ones are in the history only if an ARG
// names them, but count as a reason to have the |0 (prependEnvOnCmd in dispatchers.go).
func (in *instruction) classicRun(run *Run) {
	run.Env = slices.Clone(in.config.Env)
	visible := 0
	for _, a := range in.scope.args {
		if _, hidden := in.envAt[a.name]; hidden || a.unset {
			continue
		}
		visible++
		kv := a.name + "=" + a.value
		if IsProxyArg(a.name) && !in.declared[a.name] {
			run.ProxyEnv = append(run.ProxyEnv, kv)
			continue
		}
		run.BuildArgs = append(run.BuildArgs, kv)
	}
	slices.Sort(run.BuildArgs)
	slices.Sort(run.ProxyEnv)
	run.Env = append(run.Env, run.BuildArgs...)
	in.step.row.text = withBuildArgs(run.BuildArgs, run.Args, visible > 0)
}

// withBuildArgs is a command with the build arguments in front that it ran with: |2 A=1 B=2 /bin/sh -c make.
func withBuildArgs(buildArgs, args []string, show bool) string {
	var words []string
	if show {
		words = append(words, "|"+strconv.Itoa(len(buildArgs)))
		words = append(words, buildArgs...)
	}
	return strings.Join(append(words, args...), " ")
}
