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
}

// composeGroup is `strata compose`, of which there is what builds.
func (a *app) composeGroup() *cobra.Command {
	cmd := group("compose", "Build the services of a Compose file")
	p := &bake.Project{}
	fl := cmd.PersistentFlags()
	fl.StringArrayVarP(&p.Files, "file", "f", nil, "Compose `FILE`, - for standard input; later ones are merged over the first (default COMPOSE_FILE, or compose.yaml here or above)")
	fl.StringVarP(&p.Name, "project-name", "p", "", "`NAME` of the project, with which names of images begin")
	fl.StringVar(&p.Directory, "project-directory", "", "`DIRECTORY` to which paths are relative (default that of the first file)")
	fl.StringArrayVar(&p.Profiles, "profile", nil, "enable the services of this profile (`NAME`)")
	fl.StringArrayVar(&p.EnvFiles, "env-file", nil, "`FILE` with variables for the Compose file (default .env)")
	ignoredFlags(fl, []string{"ansi", "parallel"}, []string{"compatibility", "all-resources"})
	cmd.AddCommand(a.composeBuild(p))
	return cmd
}

func (a *app) composeBuild(p *bake.Project) *cobra.Command {
	f := &composeFlags{}
	cmd := &cobra.Command{
		Use:   "build [OPTIONS] [SERVICE...]",
		Short: "Build the images of services",
		RunE:  func(cmd *cobra.Command, args []string) error { return a.runComposeBuild(cmd.Context(), *p, args, f) },
	}
	fl := cmd.Flags()
	f.registerCommon(fl)
	fl.StringArrayVar(&f.args, "build-arg", nil, "value of an ARG of all services, as `NAME=VALUE`; NAME alone takes the value from the environment")
	fl.StringArrayVar(&f.ssh, "ssh", nil, "ssh agent for RUN --mount=type=ssh: `ID`, ID=SOCKET or ID=KEY[,KEY]")
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
