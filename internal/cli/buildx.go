package cli

import (
	"cmp"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/sandbox/binfmt"
)

// builderName is what the one builder that there is, this program, is called. Any other name means it too, so that
// scripts which create a builder and then use it go on to work.
const builderName = "default"

// buildxGroup is `strata buildx …`, the commands of docker's plugin for builds (docker/buildx, commands/root.go).
func (a *app) buildxGroup() *cobra.Command {
	cmd := group("buildx", "The commands of docker buildx")
	cmd.PersistentFlags().String("builder", os.Getenv("BUILDX_BUILDER"), "ignored: there is only one builder, this program (`NAME`)")
	cmd.PersistentFlags().BoolP("debug", "D", false, "ignored, except behind build")
	cmd.AddCommand(a.build(), a.bake(), a.cacheUse(), a.buildxPrune(), a.buildxHistory(), a.imageTools(),
		a.buildersList(), a.builderShow(), a.builderCreate(),
		harmless("use NAME", "Choose a builder: there is only one", func(fl *pflag.FlagSet) {
			ignoredFlags(fl, nil, []string{"default", "global"})
		}, func([]string) error { return nil }),
		harmless("stop [NAME]", "Stop a builder: none is running", nil, func([]string) error { return nil }),
		harmless("rm [OPTIONS] [NAME...]", "Remove a builder: its name is forgotten, the cache stays", func(fl *pflag.FlagSet) {
			ignoredFlags(fl, []string{"timeout"}, []string{"all-inactive", "keep-daemon", "keep-state"})
			fl.BoolP("force", "f", false, "ignored: nothing is asked")
		}, func(names []string) error {
			for _, name := range names {
				fmt.Fprintf(a.stderr, "%s removed\n", printable(name))
			}
			return nil
		}),
		harmless("install", "Make docker build an alias: it is one here", nil, func([]string) error { return nil }),
		harmless("uninstall", "Undo install", nil, func([]string) error { return nil }),
		a.buildxVersion())
	return cmd
}

func (a *app) buildxVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version in buildx's form: program, version, commit",
		Args:  args(0, 0),
		RunE: func(*cobra.Command, []string) error {
			v := a.programVersion()
			fmt.Fprintln(a.stdout, "github.com/strata-build/strata", v.Version, v.GitCommit)
			return nil
		},
	}
}

// buildxPrune is builder prune under buildx's name.
func (a *app) buildxPrune() *cobra.Command {
	cmd := a.builderPrune()
	ignoreTimeout(cmd.Flags())
	return cmd
}

// ignoreTimeout adds the flag of buildx for how long a builder may take to answer.
func ignoreTimeout(fl *pflag.FlagSet) {
	fl.Duration("timeout", 0, "ignored: no builder has to be waited for")
}

func (a *app) builderCreate() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "create [OPTIONS] [CONTEXT|ENDPOINT]",
		Short: "Print the name of a builder: there is only one, whatever the name",
		Args:  args(0, 1),
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprintln(a.stdout, printable(cmp.Or(name, builderName)))
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&name, "name", "", "`NAME` of the builder")
	ignoredFlags(fl, []string{"driver", "node", "platform", "driver-opt", "buildkitd-flags", "buildkitd-config", "config"},
		[]string{"bootstrap", "append", "leave", "use"})
	ignoreTimeout(fl)
	return cmd
}

func (a *app) builderShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect [OPTIONS] [NAME]",
		Short: "Describe the builder, which is this program",
		Args:  args(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := cmp.Or(first(args), cmd.Flag("builder").Value.String(), builderName)
			w := tabwriter.NewWriter(a.texts(), 0, 0, 1, ' ', 0)
			fmt.Fprintf(w, "Name:\t%s\nDriver:\tstrata\n\nNodes:\nName:\t%[1]s0\nEndpoint:\t%s\nStatus:\trunning\nBuildKit version:\t%s\nPlatforms:\t%s\n",
				printable(name), builderName, a.version, strings.Join(buildPlatforms(), ", "))
			return w.Flush()
		},
	}
	ignoredFlags(cmd.Flags(), nil, []string{"bootstrap"})
	ignoreTimeout(cmd.Flags())
	return cmd
}

func (a *app) buildersList() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "ls [OPTIONS]",
		Short: "List the builders, of which there is one",
		Args:  args(0, 0),
		RunE: func(*cobra.Command, []string) error {
			if format == "json" {
				return human.JSON(a.stdout, "", map[string]any{
					"Name": builderName, "Driver": "strata", "Current": true, "Dynamic": false,
					"Nodes": []any{map[string]any{
						"Name": builderName, "Endpoint": builderName, "Status": "running", "Version": a.version, "Platforms": buildPlatforms(),
					}},
				})
			}
			name, node := builderName, builderName
			if format == "" || strings.HasPrefix(format, "table") {
				name, node = name+"*", ` \_ `+node
			}
			return a.list(human.Listing{
				Headers: map[string]string{
					"Name": "NAME/NODE", "DriverEndpoint": "DRIVER/ENDPOINT", "LastActivity": "LAST ACTIVITY", "Status": "STATUS",
					"Buildkit": "BUILDKIT", "Platforms": "PLATFORMS", "Error": "ERROR",
				},
				Default: []string{"Name", "DriverEndpoint", "Status", "Buildkit", "Platforms"},
			}, format, []human.Row{
				{"Name": name, "DriverEndpoint": "strata", "LastActivity": "", "Status": "", "Buildkit": "", "Platforms": "", "Error": ""},
				{
					"Name": node, "DriverEndpoint": node, "LastActivity": "", "Status": "running", "Buildkit": a.version,
					"Platforms": strings.Join(buildPlatforms(), ", "), "Error": "",
				},
			})
		},
	}
	cmd.Flags().StringVar(&format, "format", "", "`TEMPLATE` in Go's language, 'table TEMPLATE' or json; fields: .Name .DriverEndpoint .LastActivity .Status .Buildkit .Platforms")
	ignoredFlags(cmd.Flags(), nil, []string{"no-trunc"})
	ignoreTimeout(cmd.Flags())
	return cmd
}

// buildPlatforms are the platforms whose programs this machine executes.
func buildPlatforms() []string {
	all := []string{platform.Format(platform.Local())}
	for _, arch := range binfmt.Architectures() {
		all = append(all, "linux/"+arch)
	}
	return all
}
