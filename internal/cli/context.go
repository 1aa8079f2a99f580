package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/strata-build/strata/internal/human"
)

// contextName is docker's name for the context that works on this machine, the only one here.
const contextName = "default"

// contextGroup is `strata context …`: recipes create a context before they create a builder. Only what works on this
// machine is one; another machine's docker is an error, since the build would not go there.
func (a *app) contextGroup() *cobra.Command {
	cmd := group("context", "The contexts of docker: there is this machine only")
	cmd.Hidden = true
	var endpoint []string
	var quiet bool
	var format string
	ls := &cobra.Command{
		Use: "ls [OPTIONS]", Aliases: []string{"list"}, Short: "List contexts", Args: args(0, 0),
		RunE: func(*cobra.Command, []string) error {
			rows := []human.Row{{"Name": contextName + " *", "Description": "this machine", "DockerEndpoint": "", "Error": ""}}
			if format != "" && !strings.HasPrefix(format, "table") {
				rows[0]["Name"], rows[0]["Current"] = contextName, "true"
			}
			if quiet {
				rows[0]["Name"] = contextName
				return a.printColumn("Name", rows)
			}
			return a.list(human.Listing{
				Headers: map[string]string{"Name": "NAME", "Description": "DESCRIPTION", "DockerEndpoint": "DOCKER ENDPOINT", "Error": "ERROR", "Current": "CURRENT"},
				Default: []string{"Name", "Description", "DockerEndpoint", "Error"},
			}, format, rows)
		},
	}
	ls.Flags().BoolVarP(&quiet, "quiet", "q", false, "print names only")
	ls.Flags().StringVar(&format, "format", "", "`TEMPLATE` in Go's language, 'table TEMPLATE' or json; fields: .Name .Description .DockerEndpoint .Current")
	create := harmless("create [OPTIONS] NAME", "Create a context: its name is forgotten", func(fl *pflag.FlagSet) {
		fl.Var((*listFlag)(&endpoint), "docker", "where docker's daemon is: nowhere else than on this machine (`ENDPOINT`)")
		fl.String("from", "", "ignored: all contexts are this machine (`NAME`)")
		fl.String("description", "", "ignored (`TEXT`)")
	}, func(names []string) error {
		for _, e := range endpoint {
			if strings.Contains(e, "ssh://") || strings.Contains(e, "tcp://") {
				return usageError("--docker %s: strata works on this machine only; run it on the other one, as by ssh HOST strata …", e)
			}
		}
		fmt.Fprintln(a.stdout, printable(strings.Join(names, " ")))
		return nil
	})
	create.Args = args(1, 1)
	use := harmless("use NAME", "Choose a context: there is only one", nil, func(names []string) error {
		fmt.Fprintln(a.stdout, printable(names[0]))
		return nil
	})
	use.Args = args(1, 1)
	cmd.AddCommand(ls, create, use,
		harmless("show", "Print the name of the context", nil, func([]string) error {
			fmt.Fprintln(a.stdout, contextName)
			return nil
		}),
		harmless("rm [OPTIONS] NAME...", "Remove a context: its name is forgotten already", func(fl *pflag.FlagSet) {
			fl.BoolP("force", "f", false, "ignored: nothing is asked")
		}, func(names []string) error {
			fmt.Fprintln(a.stdout, printable(strings.Join(names, "\n")))
			return nil
		}))
	return cmd
}
