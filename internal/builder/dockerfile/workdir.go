package dockerfile

import (
	"fmt"
	"path"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
)

func (in *instruction) workdir(c *instructions.WorkdirCommand) error {
	dir, err := in.expand(c.Path)
	if err != nil {
		return err
	}
	if !in.scope.workdirSet && !path.IsAbs(dir) {
		in.rules.Run(&linter.RuleWorkdirRelativePath, c.Location(), linter.RuleWorkdirRelativePath.Format(dir))
	}
	in.scope.workdirSet = true
	if dir == "" && in.dialect.Config.StrictWorkdir {
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
	in.step.row.text = "WORKDIR " + dir
	if in.dialect.Steps.ShellRows {
		in.step.row.text = nop(in.shell(), "", "WORKDIR "+dir)
	}
	if dir == "/" && !in.dialect.Config.StrictWorkdir { // BuildKit makes no step and no layer for /, though it counts it
		return nil
	}
	in.step.Workdir = &Workdir{Path: path.Clean(dir)}
	if in.dialect.Copy.UserOwnsWorkdir {
		in.step.Workdir.User = in.config.User
	}
	in.step.EmptyLayer = false
	in.vertex()
	return nil
}
