package dockerfile

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
)

func (in *instruction) run(c *instructions.RunCommand) error {
	run := &Run{
		Args:    in.commandLine(c.ShellDependantCmdLine),
		Shell:   c.PrependShell,
		Dir:     in.config.WorkingDir,
		User:    in.config.User,
		Network: instructions.GetNetwork(c),
	}
	if len(run.Args) == 0 || in.classic && len(c.CmdLine) == 0 {
		return errors.New("RUN without a command")
	}
	if run.Dir == "" {
		run.Dir = "/"
	}
	in.step.Run = run
	in.step.EmptyLayer = false
	in.vertex()
	if in.classic {
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
	in.step.history = "RUN " + withBuildArgs(run.BuildArgs, run.Args, len(run.BuildArgs) > 0) + " # buildkit"
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
		if isProxyArg(a.name) && !in.declared[a.name] {
			run.ProxyEnv = append(run.ProxyEnv, kv)
			continue
		}
		run.BuildArgs = append(run.BuildArgs, kv)
	}
	slices.Sort(run.BuildArgs)
	slices.Sort(run.ProxyEnv)
	run.Env = append(run.Env, run.BuildArgs...)
	in.step.history = withBuildArgs(run.BuildArgs, run.Args, visible > 0)
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

func (in *instruction) workdir(c *instructions.WorkdirCommand) error {
	dir, err := in.expand(c.Path)
	if err != nil {
		return err
	}
	if !in.scope.workdirSet && !path.IsAbs(dir) {
		in.rules.Run(&linter.RuleWorkdirRelativePath, c.Location(), linter.RuleWorkdirRelativePath.Format(dir))
	}
	in.scope.workdirSet = true
	if dir == "" && in.classic {
		return fmt.Errorf("WORKDIR %s: the path is empty", c.Path)
	}
	// An absolute path stays as written, also in the config; a relative one is joined, which cleans it. So do both
	// builders: system.NormalizeWorkdir, normalizeWorkdir.
	if dir == "" {
		dir = in.config.WorkingDir
		if dir == "" {
			dir = "/"
		}
	} else if !path.IsAbs(dir) {
		dir = path.Join("/", in.config.WorkingDir, dir)
	}
	in.config.WorkingDir = dir
	if in.classic {
		in.step.history = nop(in.shell(), "", "WORKDIR "+dir)
		in.step.Workdir = &Workdir{Path: path.Clean(dir)}
		in.step.EmptyLayer = false
		in.vertex()
		return nil
	}
	in.step.history = "WORKDIR " + dir
	if dir != "/" { // BuildKit makes no step and no layer for /, though it counts it
		in.step.Workdir = &Workdir{Path: path.Clean(dir), User: in.config.User}
		in.step.EmptyLayer = false
		in.vertex()
	}
	return nil
}

// copyArgs is what COPY and ADD have in common.
type copyArgs struct {
	instructions.SourcesAndDest
	add                bool
	from, chown, chmod string
}

func (in *instruction) copyFiles(args copyArgs) error {
	name := "COPY"
	if args.add {
		name = "ADD"
	}
	c := &Copy{Add: args.add, FromImage: args.from}
	var err error
	if c.Chown, err = in.expand(args.chown); err != nil {
		return err
	}
	if c.Chmod, err = in.expand(args.chmod); err != nil {
		return err
	}
	if err := checkChmod(name, c.Chmod); err != nil {
		return err
	}
	for _, source := range args.SourcePaths {
		expanded, err := in.expand(source)
		if err != nil {
			return err
		}
		if err := checkRemote(name, expanded); err != nil {
			return err
		}
		c.Sources = append(c.Sources, expanded)
	}
	if c.DestText, err = in.expand(args.DestPath); err != nil {
		return err
	}
	c.Dest, c.DestDir = in.destination(c.DestText)
	if args.from != "" {
		if c.FromStage, err = in.stage.copySource(args.from); err != nil {
			return err
		}
		if c.FromStage != nil {
			c.FromImage = ""
		}
	}
	if in.classic && len(c.Sources) > 1 && !strings.HasSuffix(c.DestText, "/") {
		return fmt.Errorf("%s of more than one source: the destination %s must be a directory and end with a /", name, c.DestText)
	}
	in.step.Copy = c
	in.step.EmptyLayer = false
	in.vertex()
	in.copyHistory(name, c)
	return nil
}

func (in *instruction) copyHistory(name string, c *Copy) {
	if in.classic {
		flags := ""
		if c.Chown != "" {
			flags = "--chown=" + c.Chown
		}
		if c.Chmod != "" { // Docker's classic builder refuses --chmod: the place is ours
			flags += "--chmod=" + c.Chmod
		}
		in.step.history, in.step.copyRow = nop(in.shell(), "", name+" "+flags), true
		return
	}
	words := []string{name}
	if c.Chown != "" {
		words = append(words, "--chown="+c.Chown)
	}
	if c.Chmod != "" {
		words = append(words, "--chmod="+c.Chmod)
	}
	words = append(words, c.Sources...)
	in.step.history = strings.Join(append(words, c.DestText), " ") + " # buildkit"
}

// destination makes a path absolute and clean, and says whether it was written as a directory.
func (in *instruction) destination(dest string) (clean string, isDir bool) {
	isDir = dest == "" || dest == "." || strings.HasSuffix(dest, "/") || strings.HasSuffix(dest, "/.")
	if path.IsAbs(dest) {
		return path.Clean(dest), isDir
	}
	return path.Join("/", in.config.WorkingDir, dest), isDir
}

func checkChmod(name, mode string) error {
	if mode == "" {
		return nil
	}
	n, err := strconv.ParseUint(mode, 8, 32)
	if err == nil && n <= 0o7777 {
		return nil
	}
	if err == nil || mode[0] >= '0' && mode[0] <= '9' {
		return fmt.Errorf("%s --chmod=%s: the mode must be octal, from 0 to 7777", name, mode)
	}
	return fmt.Errorf("%s --chmod=%s: a symbolic mode is not supported yet; write it in octal, such as 755", name, mode)
}
