package dockerfile

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// ScriptDir is where a RUN finds its Script, as in BuildKit.
const ScriptDir = "/dev/pipes"

// Script is a here-document that is run by the interpreter which its first line names (#!): an executable file,
// ScriptDir/Name.
type Script struct{ Name, Text string }

// inline puts the here-documents of a RUN into its command line (dispatchRun in BuildKit's convert.go). One that is the
// whole command is given to the shell as if it stood in the Dockerfile in one line, or is a script; whether its variables
// would be expanded makes no difference, since the shell does that. All others are left to the shell with the command
// around them.
func (in *instruction) inline(c *instructions.RunCommand, run *Run) (instructions.ShellDependantCmdLine, error) {
	line := c.ShellDependantCmdLine
	if len(c.Files) == 0 {
		return line, nil
	}
	if len(line.CmdLine) != 1 || !line.PrependShell {
		return line, errors.New("RUN with a here-document (<<) takes one command, and not as a JSON array")
	}
	command := line.CmdLine[0]
	if parser.MustParseHeredoc(command) == nil {
		var b strings.Builder
		b.WriteString(command)
		for _, file := range c.Files {
			b.WriteString("\n" + file.Data + file.Name)
		}
		line.CmdLine = []string{b.String()}
		return line, nil
	}
	file := c.Files[0]
	in.step.Name = upperFirst(in.raw(in.step.Text + " (" + summary(file.Data) + ")"))
	if file.Chomp {
		file.Data = parser.ChompHeredocContent(file.Data)
	}
	line.CmdLine = []string{file.Data}
	if !strings.HasPrefix(file.Data, "#!") {
		return line, nil
	}
	if file.Name == "." || file.Name == ".." || strings.Contains(file.Name, "/") {
		return line, fmt.Errorf("RUN <<%s: the name of a script must be that of a file, such as EOF", file.Name)
	}
	run.Script = &Script{Name: file.Name, Text: file.Data}
	line.CmdLine = []string{path.Join(ScriptDir, file.Name)}
	return line, nil
}

// summary is what BuildKit shows of a here-document: its first line.
func summary(text string) string {
	first, _, more := strings.Cut(strings.ReplaceAll(strings.TrimSpace(text), "\r\n", "\n"), "\n")
	if more {
		return first + "..."
	}
	return first
}
