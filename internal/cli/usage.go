package cli

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/strata-build/strata/internal/human/suggest"
)

// subcommand is the Args of a command that only has others below it, and whose arguments can be no more than a name
// that is not among them.
func subcommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return unknownCommand(cmd, args[0])
	}
	return nil
}

// unknownCommand is the error for a word that is none of the commands below cmd: what is used for it here if it is
// one of docker's, or what was probably meant.
func unknownCommand(cmd *cobra.Command, word string) error {
	path := strings.TrimPrefix(cmd.CommandPath()+" "+word, cmd.Root().Name()+" ")
	if instead := insteadOf(path); instead != "" {
		return usageError("unknown command %q: %s", path, instead)
	}
	var known []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			known = append(append(known, c.Name()), c.Aliases...)
		}
	}
	return usageError("unknown command %q%s; see %s --help", word, suggest.DidYouMean(word, known), cmd.CommandPath())
}

// strictHelp makes "help WORD" an error where WORD is no command: cobra's prints what there is, and succeeds.
func strictHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	for _, help := range root.Commands() {
		if help.Name() != "help" {
			continue
		}
		help.Run = nil
		help.RunE = func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if cmd == nil {
				cmd = root
			}
			if err != nil || cmd.HasSubCommands() && len(rest) > 0 {
				return unknownCommand(cmd, args[len(args)-max(1, len(rest))])
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		}
	}
}

// flagError is the error for flags that cmd cannot read. Where a word that is no command comes first, that is what is
// wrong, since the flags are that command's.
func flagError(cmd *cobra.Command, err error) error {
	if cmd.HasSubCommands() && cmd.Flags().NArg() > 0 {
		return unknownCommand(cmd, cmd.Flags().Arg(0))
	}
	return usageError("%w; see %s --help", explainFlag(cmd, err), cmd.CommandPath())
}

// betweenCommands makes an error of usage of one about a flag between two commands, as in compose --nosuch x build:
// cobra returns it without asking flagError.
func betweenCommands(root *cobra.Command, err error) error {
	var told *exit
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	var syntax *pflag.InvalidSyntaxError
	if err == nil || errors.As(err, &told) {
		return err
	}
	if errors.As(err, &unknown) || errors.As(err, &missing) || errors.As(err, &invalid) || errors.As(err, &syntax) {
		return usageError("%w; see %s --help", err, root.Name())
	}
	return err
}

// explainFlag makes of pflag's error one that says which flag was probably meant, or what the value of one may be.
func explainFlag(cmd *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	var number *strconv.NumError
	if errors.As(err, &invalid) && errors.As(err, &number) {
		what := "a number"
		if number.Func == "ParseBool" {
			what = "true or false"
		}
		return fmt.Errorf("--%s=%s: it takes %s", invalid.GetFlag().Name, invalid.GetValue(), what)
	}
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || unknown.GetSpecifiedShortnames() != "" {
		return err
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			known = append(known, f.Name)
		}
	})
	near := suggest.Near(unknown.GetSpecifiedName(), known)
	return fmt.Errorf("%w%s", err, suggest.Question("--", near))
}

// dockerOnly is some of docker's commands that strata does not have, and what is done here instead.
type dockerOnly struct {
	commands []string
	instead  string
}

const noContainers = "strata builds images and has no daemon that keeps containers; "

var dockerCommands = []dockerOnly{
	{[]string{"ps", "container", "top", "stats", "port"},
		noContainers + "what `strata run` runs is a process of this machine, which ps and top show"},
	{[]string{"exec", "attach", "start"}, noContainers + "start a command of an image with: strata run -it IMAGE COMMAND"},
	{[]string{"stop", "kill", "restart", "pause", "unpause", "wait", "rename", "update"},
		noContainers + "`strata run` ends with its command, by Ctrl-C or by a signal"},
	{[]string{"logs"}, noContainers + "`strata run` prints what its command prints, and `strata history IMAGE` shows how an image was built"},
	{[]string{"commit", "checkpoint"},
		noContainers + "write the change as a step of a Dockerfile, or make an image of files with `strata import`"},
	{[]string{"events"}, "strata has no daemon that could tell; `strata builds` lists what was built"},
	{[]string{"network"}, "strata has no daemon that keeps networks; each step and each `strata run` has one of its own, this machine's, or none: --network bridge|host|none"},
	{[]string{"volume"}, "strata keeps no volumes; give `strata run` a directory with -v PATH:TARGET, and a step RUN --mount=type=cache"},
	{[]string{"swarm", "service", "stack", "node", "secret", "config"},
		"strata builds images and runs no cluster; `strata push` sends an image to where one gets it from"},
	{[]string{"compose up", "compose down", "compose run", "compose exec", "compose ps", "compose logs", "compose start",
		"compose stop", "compose restart", "compose create", "compose rm", "compose kill", "compose watch"},
		noContainers + "build what a compose file describes with `strata compose build`, and start one image with `strata run`"},
	{[]string{"compose config", "compose convert", "compose images"},
		"see what would be built, with names and arguments, by `strata compose build --print`"},
	{[]string{"compose push"}, "build and push in one go: `strata compose build --push`"},
	{[]string{"compose pull"}, "`strata compose build --pull` fetches base images; `strata pull NAME` fetches one image"},
	{[]string{"context export", "context import", "context update"}, "strata works on this machine, in the store that STRATA_ROOT names"},
	{[]string{"manifest"}, "look at what a name in a registry stands for with: strata buildx imagetools inspect NAME"},
	{[]string{"search"}, "registries have no common way to search; look at the registry's own pages"},
	{[]string{"plugin", "trust", "scout", "init", "model", "debug", "desktop", "extension", "offload", "sandbox", "mcp"},
		"this is one of Docker's own tools, which strata has no counterpart of"},
}

// insteadOf says what is done here instead of one of docker's commands, "" if it is none.
func insteadOf(command string) string {
	for _, c := range dockerCommands {
		if slices.Contains(c.commands, command) {
			return c.instead
		}
	}
	return ""
}
