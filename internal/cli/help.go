package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/human"
)

// flagGroup is a heading of a command's --help, and the flags below it.
type flagGroup struct {
	title string
	flags []string
}

// limitFlagNames are the flags of limitFlags and machineFlags.
var limitFlagNames = []string{
	"memory", "memory-swap", "cpus", "cpu-shares", "cpu-period", "cpu-quota", "cpuset-cpus", "cpuset-mems", "resource", "shm-size", "ulimit",
	"cgroup-parent",
}

// flagGroups are the groups of the commands that have many flags, by the command's name: what is commonly used comes
// first. Flags in none of them are listed last.
var flagGroups = map[string][]flagGroup{
	"build": {
		{"Common flags", []string{
			"tag", "file", "build-arg", "target", "platform", "secret", "output", "push", "load", "no-cache", "pull", "lazy", "progress", "quiet",
		}},
		{"Cache", []string{"cache-from", "cache-to", "no-cache-filter", "refresh", "observe", "explain"}},
		{"What is built", []string{"build-context", "label", "ssh", "network", "network-allow", "add-host", "allow", "engine"}},
		{"What comes out", []string{"annotation", "iidfile", "metadata-file", "attest", "provenance", "sbom"}},
		{"Checks", []string{"check", "call", "debug"}},
		{"Steps on other machines", []string{"queue", "queue-trust", "queue-cache", "queue-creds", "queue-ca", "queue-cert", "queue-key"}},
		{"Limits of each RUN", limitFlagNames},
		{"Accepted because docker has them", []string{
			"builder", "compress", "disable-content-trust", "force-rm", "isolation", "policy", "rm", "security-opt", "squash",
		}},
	},
	"run": {
		{"Common flags", []string{
			"interactive", "tty", "env", "volume", "workdir", "user", "entrypoint", "platform", "pull", "lazy", "env-file", "mount", "rm",
		}},
		{"Sandbox", []string{
			"network", "network-allow", "publish", "hostname", "name", "add-host", "dns", "tmpfs", "read-only", "init", "cap-add", "cap-drop", "privileged", "security-opt",
		}},
		{"Limits of the command", limitFlagNames},
		{"Accepted because docker has them", []string{"detach", "label", "publish-all"}},
	},
}

// usage prints what --help says below a command's description.
func (a *app) usage(cmd *cobra.Command) error {
	var b strings.Builder
	width := terminalWidth(a.stdout)
	fmt.Fprint(&b, "Usage:")
	if cmd.Runnable() && cmd.HasParent() {
		fmt.Fprintf(&b, "\n  %s", cmd.UseLine())
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\n  %s COMMAND", cmd.CommandPath())
	}
	b.WriteString("\n")
	if len(cmd.Aliases) > 0 {
		fmt.Fprintf(&b, "\nAliases:\n  %s\n", cmd.NameAndAliases())
	}
	if cmd.HasAvailableSubCommands() {
		commandUsage(&b, cmd)
	}
	flagUsage(&b, cmd, width)
	if cmd.HasExample() {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", cmd.Example)
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\n\"%s COMMAND --help\" tells more about a command.\n", cmd.CommandPath())
	}
	_, err := io.WriteString(cmd.OutOrStdout(), b.String())
	return err
}

// commandUsage lists the commands below one, in its groups.
func commandUsage(b *strings.Builder, cmd *cobra.Command) {
	line := func(c *cobra.Command) {
		fmt.Fprintf(b, "  %-*s %s\n", c.NamePadding(), c.Name(), c.Short)
	}
	for _, g := range cmd.Groups() {
		fmt.Fprintf(b, "\n%s\n", g.Title)
		for _, c := range cmd.Commands() {
			if c.GroupID == g.ID && c.IsAvailableCommand() {
				line(c)
			}
		}
	}
	title := "Commands:"
	for _, c := range cmd.Commands() {
		if c.GroupID != "" || !c.IsAvailableCommand() || cmd.HasParent() && c.Name() == "help" {
			continue
		}
		if title != "" {
			if len(cmd.Groups()) > 0 {
				title = "Help:"
			}
			fmt.Fprintf(b, "\n%s\n", title)
			title = ""
		}
		line(c)
	}
}

// flagUsage lists the flags of a command, in its groups.
func flagUsage(b *strings.Builder, cmd *cobra.Command, width int) {
	for _, g := range groupedFlags(cmd) {
		set := pflag.NewFlagSet(g.title, pflag.ContinueOnError)
		set.SortFlags = false
		for _, name := range g.flags {
			set.AddFlag(cmd.Flags().Lookup(name))
		}
		fmt.Fprintf(b, "\n%s:\n%s\n", g.title, strings.TrimRight(set.FlagUsagesWrapped(width), "\n"))
	}
}

// groupedFlags are the groups of the flags that a command has; what is in none of its groups, or all of a command
// without, is the last.
func groupedFlags(cmd *cobra.Command) []flagGroup {
	cmd.InitDefaultHelpFlag()
	rest := flagGroup{title: "Flags"}
	seen := map[string]bool{}
	var groups []flagGroup
	for _, g := range flagGroups[cmd.Name()] {
		has := flagGroup{title: g.title}
		for _, name := range g.flags {
			if fl := cmd.Flags().Lookup(name); fl != nil && !fl.Hidden {
				has.flags = append(has.flags, name)
				seen[name] = true
			}
		}
		if len(has.flags) > 0 {
			groups = append(groups, has)
			rest.title = "Other flags"
		}
	}
	cmd.Flags().VisitAll(func(fl *pflag.Flag) {
		if !fl.Hidden && !seen[fl.Name] {
			rest.flags = append(rest.flags, fl.Name)
		}
	})
	if len(rest.flags) > 0 {
		groups = append(groups, rest)
	}
	return groups
}

// terminalWidth is the width at which texts are wrapped, in columns: that of a terminal, 0 for a file or pipe.
func terminalWidth(w io.Writer) int {
	f, ok := w.(human.File)
	if !ok || !human.IsTerminal(f) {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col < 60 {
		return 0
	}
	return min(int(size.Col), 140)
}
