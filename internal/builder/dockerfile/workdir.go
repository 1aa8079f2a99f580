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
		in.step.row.text = nop(in.shell(), "", "WORKDIR "+dir)
		in.step.Workdir = &Workdir{Path: path.Clean(dir)}
		in.step.EmptyLayer = false
		in.vertex()
		return nil
	}
	in.step.row.text = "WORKDIR " + dir
	if dir != "/" { // BuildKit makes no step and no layer for /, though it counts it
		in.step.Workdir = &Workdir{Path: path.Clean(dir), User: in.config.User}
		in.step.EmptyLayer = false
		in.vertex()
	}
	return nil
}
