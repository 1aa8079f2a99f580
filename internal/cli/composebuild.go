package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/builder/bake"
	"github.com/strata-build/strata/internal/builder/subrequest"
)

// composeFlags are the flags of compose build beside those that it shares with bake.
type composeFlags struct {
	bakeFlags
	args, ssh    []string
	memory       string
	dependencies bool
	// groupProgress and dryRun are given in front of the command: compose --progress plain build.
	groupProgress string
	dryRun        bool
}

// composeGroup is `strata compose`, of which there is what builds.
func (a *app) composeGroup() *cobra.Command {
	cmd := group("compose", "Build the services of a Compose file")
	p := &bake.Project{}
	f := &composeFlags{}
	fl := cmd.PersistentFlags()
	fl.VarP((*listFlag)(&p.Files), "file", "f", "Compose `FILE`, - for standard input; later ones are merged over the first (default COMPOSE_FILE, or compose.yaml here or above)")
	fl.StringVarP(&p.Name, "project-name", "p", "", "`NAME` of the project, with which names of images begin")
	fl.StringVar(&p.Directory, "project-directory", "", "`DIRECTORY` to which paths are relative (default that of the first file)")
	fl.Var((*listFlag)(&p.Profiles), "profile", "enable the services of this profile (`NAME`)")
	fl.Var((*listFlag)(&p.EnvFiles), "env-file", "`FILE` with variables for the Compose file (default .env)")
	fl.StringVar(&f.groupProgress, "progress", "", "progress output, a `MODE`: as --progress of build")
	fl.BoolVar(&f.dryRun, "dry-run", false, "print what would be built, as --print of build")
	ignoredFlags(fl, []string{"ansi", "parallel"}, []string{"compatibility", "all-resources", "verbose"})
	version := a.buildxVersion()
	version.Flags().Bool("short", false, "ignored")
	cmd.AddCommand(a.composeBuild(p, f), version)
	return cmd
}

func (a *app) composeBuild(p *bake.Project, f *composeFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "build [OPTIONS] [SERVICE...]",
		Short: "Build the images of services",
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.groupProgress != "" && !cmd.Flags().Changed("progress") {
				f.progress = f.groupProgress
			}
			f.print = f.print || f.dryRun
			return a.runComposeBuild(cmd.Context(), *p, args, f)
		},
	}
	fl := cmd.Flags()
	f.registerCommon(fl)
	fl.Var((*listFlag)(&f.args), "build-arg", "value of an ARG of all services, as `NAME=VALUE`; NAME alone takes the value from the environment")
	fl.Var((*listFlag)(&f.ssh), "ssh", "ssh agent for RUN --mount=type=ssh: `ID`, ID=SOCKET or ID=KEY[,KEY]")
	fl.StringVarP(&f.memory, "memory", "m", "", "memory limit of each RUN, a `SIZE` such as 512m")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "print no progress")
	fl.BoolVar(&f.print, "print", false, "print the targets as a bake file in JSON instead of building")
	fl.BoolVar(&f.dependencies, "with-dependencies", false, "build the services too that these depend on")
	ignoredFlags(fl, nil, []string{"compress", "force-rm", "no-rm"})
	return cmd
}

func (a *app) runComposeBuild(ctx context.Context, p bake.Project, names []string, f *composeFlags) error {
	if _, err := subrequest.ParseMethod(f.call); err != nil {
		return &exit{exitUsage, err}
	}
	services, err := p.Load(ctx, names, f.dependencies)
	if err != nil {
		return err
	}
	if len(services.Names) == 0 {
		fmt.Fprintln(a.stderr, "strata: no service has something to build")
		return nil
	}
	sets := f.overrides()
	for _, arg := range f.args {
		sets = append(sets, "*.args."+arg)
	}
	for _, ssh := range f.ssh {
		sets = append(sets, "*.ssh+="+ssh)
	}
	if f.memory != "" {
		sets = append(sets, "*.resources.memory="+f.memory)
	}
	plan, err := services.Config.Plan(services.Names, sets)
	if err != nil {
		return err
	}
	return a.runPlan(ctx, plan, &f.bakeFlags, nil)
}
