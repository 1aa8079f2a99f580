package cli

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// commands are all commands that can be seen, those of groups too.
func commands(t *testing.T) (all []*cobra.Command) {
	t.Helper()
	a := &app{version: "test", stdin: os.Stdin, stdout: &standardOutput{File: os.Stdout}, stderr: os.Stderr}
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		all = append(all, cmd)
		for _, c := range cmd.Commands() {
			if !c.Hidden {
				visit(c)
			}
		}
	}
	visit(a.root(nil))
	return all
}

// What is made for a command line of one command is that command, as it is among all.
func TestCommandsAreMadeAlone(t *testing.T) {
	a := &app{version: "test", stdin: os.Stdin, stdout: &standardOutput{File: os.Stdout}, stderr: os.Stderr}
	all, names := a.root(nil).Commands(), 0
	for _, g := range a.groups() {
		for _, maker := range g.commands {
			alone := a.root([]string{maker.name, "--help"}).Commands()
			if len(alone) != 1 || alone[0].Name() != maker.name {
				t.Errorf("%s: the commands are %v", maker.name, alone)
				continue
			}
			if among := all[names]; among.Name() != maker.name || among.UsageString() != alone[0].UsageString() || among.Example != alone[0].Example {
				t.Errorf("%s is another command alone", maker.name)
			}
			names++
		}
	}
	if names != len(all) {
		t.Errorf("%d of %d commands have names", names, len(all))
	}
	for args, want := range map[string]int{"--version": 0, "-D build": names, "b": names, "help build": names, "": names, "--version build": names} {
		if got := len(a.root(strings.Fields(args)).Commands()); got != want {
			t.Errorf("%q: %d commands, want %d", args, got, want)
		}
	}
}

// noEnvironment leaves variables of the shell as they are written.
type noEnvironment struct{}

func (noEnvironment) Get(name string) (string, bool) { return "$" + name, true }
func (noEnvironment) Keys() []string                 { return nil }

// exampleCommands are the command lines of strata in an example: those of its lines that are no comments, without what
// is before and after a pipe, and without redirections.
func exampleCommands(t *testing.T, example string) (lines [][]string) {
	t.Helper()
	redirection := regexp.MustCompile(`[<>] ?(\(|[^ ]+)`)
	for line := range strings.Lines(example) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		found := false
		for _, part := range strings.Split(line, " | ") {
			start := strings.Index(part, "strata ")
			if start < 0 {
				continue
			}
			found = true
			text := strings.TrimSuffix(redirection.ReplaceAllString(part[start:], ""), ")")
			words, err := shell.NewLex('\\').ProcessWords(strings.TrimSpace(text), noEnvironment{})
			if err != nil {
				t.Errorf("%s: %v", line, err)
			}
			lines = append(lines, words)
		}
		if !found {
			t.Errorf("%s: the line has no command of strata, and is no comment", line)
		}
	}
	return lines
}

// TestExamples: each command has examples, and they are command lines that it takes.
func TestExamples(t *testing.T) {
	for _, cmd := range commands(t) {
		if !cmd.HasSubCommands() && cmd.Example == "" && !strings.HasPrefix(cmd.Short, "Not supported") {
			t.Errorf("%s has no example: add one to the table in examples.go", cmd.CommandPath())
		}
		for _, words := range exampleCommands(t, cmd.Example) {
			root := commands(t)[0] // flags keep what was parsed
			found, args, err := root.Find(words[1:])
			if err != nil {
				t.Errorf("%q: %v", words, err)
				continue
			}
			if found == root {
				t.Errorf("%q: there is no such command", words)
				continue
			}
			if err := found.ParseFlags(args); err != nil {
				t.Errorf("%q: %v", words, err)
				continue
			}
			if piped := strings.Contains(cmd.Example, "xargs "+strings.Join(words, " ")); piped {
				continue // its arguments are on standard input
			}
			if err := found.ValidateArgs(found.Flags().Args()); err != nil {
				t.Errorf("%q: %v", words, err)
			}
		}
	}
	for path := range examples {
		cmd, _, err := commands(t)[0].Find(strings.Fields(path))
		if err != nil || strings.TrimPrefix(strings.TrimPrefix(cmd.CommandPath(), "strata"), " ") != path {
			t.Errorf("examples of %q, which is no command", path)
		}
	}
}

// TestHelpWording: descriptions are in one style, and the values of flags have names that tell what they are.
func TestHelpWording(t *testing.T) {
	for _, cmd := range commands(t) {
		path := cmd.CommandPath()
		if first := cmd.Short[:1]; first != strings.ToUpper(first) || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: %q begins with a capital and has no full stop", path, cmd.Short)
		}
		cmd.Flags().VisitAll(func(fl *pflag.Flag) {
			if fl.Hidden {
				return
			}
			name, text := pflag.UnquoteUsage(fl)
			if text == "" || strings.HasSuffix(text, ".") || text[:1] != strings.ToLower(text[:1]) {
				if !regexp.MustCompile(`^([A-Z]+|Dockerfile)\b`).MatchString(text) {
					t.Errorf("%s --%s: %q begins with a small letter and has no full stop", path, fl.Name, text)
				}
			}
			if strings.HasPrefix(name, "string") {
				t.Errorf("%s --%s: the value is called %s: say what it is, `LIKE THIS`, in the description", path, fl.Name, name)
			}
		})
	}
}

// TestFlagGroups: all flags of strata build but --help are in a group, each in one.
func TestFlagGroups(t *testing.T) {
	for _, cmd := range commands(t) {
		groups := groupedFlags(cmd)
		in := map[string]int{}
		for _, g := range groups {
			for _, name := range g.flags {
				in[name]++
			}
		}
		for name, n := range in {
			if n != 1 {
				t.Errorf("%s --%s is in %d groups", cmd.CommandPath(), name, n)
			}
		}
		if cmd.Flags().Lookup("build-context") == nil {
			continue
		}
		if last := groups[len(groups)-1]; last.title != "Other flags" || len(last.flags) != 1 || last.flags[0] != "help" {
			t.Errorf("%s: flags in no group: %q; see flagGroups", cmd.CommandPath(), last.flags)
		}
	}
}
