package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/strata-build/strata/internal/human"
)

// clientFlags are the flags that docker has before its commands (docker --help, "Global Options"). Most say where the
// daemon is, and there is none here.
func clientFlags(fl *pflag.FlagSet) {
	fl.SetInterspersed(false) // what follows the command is the command's
	fl.Func("config", "`DIRECTORY` of docker's config.json, with credentials (default DOCKER_CONFIG, or ~/.docker)", func(dir string) error {
		return os.Setenv("DOCKER_CONFIG", dir)
	})
	fl.StringP("context", "c", "", "ignored: there is no daemon (`NAME`)")
	fl.VarP(new(listFlag), "host", "H", "ignored: there is no daemon (`ADDRESS`)")
	fl.BoolP("debug", "D", false, "ignored, except behind build")
	fl.StringP("log-level", "l", "info", "ignored: there is no daemon (`LEVEL`)")
	fl.Bool("tls", false, "ignored: there is no daemon")
	fl.Bool("tlsverify", false, "ignored: there is no daemon")
	for _, name := range []string{"tlscacert", "tlscert", "tlskey"} {
		fl.String(name, "", "ignored: there is no daemon (`FILE`)")
	}
	for _, name := range []string{"context", "host", "debug", "log-level", "tls", "tlsverify", "tlscacert", "tlscert", "tlskey"} {
		_ = fl.MarkHidden(name)
	}
}

// pluginPrefix begins the file names of docker's plugins.
const pluginPrefix = "docker-"

// pluginArgs returns the arguments of strata where it runs as a plugin of docker, under the name docker-strata in
// cli-plugins/: docker calls a plugin with all of its own arguments, of which the first word is the plugin's name.
// Under the name docker-buildx that word is a command of strata's already.
func pluginArgs(program string, args []string) []string {
	name, isPlugin := strings.CutPrefix(filepath.Base(program), pluginPrefix)
	if !isPlugin || name == "buildx" {
		return args
	}
	at := slices.Index(args, name)
	if at < 0 {
		return args
	}
	return slices.Delete(slices.Clone(args), at, at+1)
}

// pluginMetadata is what docker asks a plugin for (github.com/docker/cli, cli-plugins/metadata).
type pluginMetadata struct {
	SchemaVersion, Vendor, Version, ShortDescription, URL string
}

// pluginInfo is the command by which docker asks a plugin what it is.
func (a *app) pluginInfo() *cobra.Command {
	return &cobra.Command{
		Use:    "docker-cli-plugin-metadata",
		Short:  "Tell docker about strata as a plugin of its command line",
		Hidden: true,
		Args:   args(0, 0),
		RunE: func(*cobra.Command, []string) error {
			version := a.version
			if !strings.HasPrefix(version, "v") {
				version = "v" + version
			}
			return human.JSON(a.stdout, "     ", pluginMetadata{
				SchemaVersion: "0.1.0", Vendor: "strata", Version: version,
				ShortDescription: "Build and look into images without a daemon", URL: "https://github.com/strata-build/strata",
			})
		},
	}
}

// harmless is a command of docker's or buildx's that has nothing to do here. It takes any flags that docker's has.
func harmless(use, short string, flags func(*pflag.FlagSet), run func(args []string) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Args: args(0, -1),
		RunE: func(_ *cobra.Command, args []string) error { return run(args) },
	}
	if flags != nil {
		flags(cmd.Flags())
	}
	return cmd
}

// ignoredFlags adds flags that have no effect: words takes values, switches none.
func ignoredFlags(fl *pflag.FlagSet, words, switches []string) {
	for _, name := range words {
		fl.Var(new(listFlag), name, fmt.Sprintf("ignored: there is no other builder (`%s`)", strings.ToUpper(name)))
	}
	for _, name := range switches {
		fl.Bool(name, false, "ignored: there is no other builder")
	}
}

// ignoreTrust takes the flag of pull and push with which scripts switch off what there is none of.
func ignoreTrust(fl *pflag.FlagSet) {
	fl.Bool("disable-content-trust", true, "ignored: signatures of images are not checked")
	_ = fl.MarkHidden("disable-content-trust")
}
