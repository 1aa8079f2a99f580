package cli

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/strata-build/strata/internal/builder"
	"github.com/strata-build/strata/internal/look/external"
)

// Completion: `strata __complete WORDS…`, which the shells' scripts of `strata completion` run, asks here what
// the last word can be. Nothing of it is set up for other commands.

// request is what is known of a command line whose last word is to be completed.
type request struct {
	app  *app
	cmd  *cobra.Command
	args []string // before the word, without flags
	word string   // as far as it is typed
}

// offer says what a word can be. What does not begin as the word does is left out by whoever asks.
type offer func(r *request) choices

// choices are the words that one can be, each with a description after a tab, where there is one.
type choices struct {
	words []string
	// open says that a word can go on, so that no space follows it.
	open bool
	// files and dirs say that the shell offers paths, of directories only.
	files, dirs bool
}

// words are choices that are always the same.
func words(list ...string) offer {
	return func(*request) choices { return choices{words: list} }
}

// anything can be typed: there is nothing to offer.
func anything(*request) choices { return choices{} }

func paths(*request) choices       { return choices{files: true} }
func directories(*request) choices { return choices{dirs: true} }

// flagOffers are the choices of a flag's value, by the flag's name, or by that and the command's where a name means
// something else there. Values of other flags are anything.
func flagOffers() map[string]offer {
	return map[string]offer{
		"add-host":        list(words("host.docker.internal:host-gateway")),
		"allow":           list(words("network.host", "security.insecure", "buildx.local.delete")),
		"bake allow":      open(words("network.host", "security.insecure", "ssh", "buildx.local.delete", "fs=", "fs.read=", "fs.write=")),
		"attest":          list(words("type=provenance", "type=provenance,mode=max", "type=sbom")),
		"build-arg":       fromDockerfile(buildArgs),
		"build-context":   open(words()),
		"cache-from":      cacheFrom,
		"cache-to":        cacheTo,
		"call":            words("check", "outline", "targets", "check,format=json", "outline,format=json", "targets,format=json"),
		"cap-add":         capabilities,
		"cap-drop":        capabilities,
		"config":          directories,
		"engine":          words("graph", "classic"),
		"env":             list(inheritedVariables),
		"explore json":    paths,
		"packages with":   words(external.Listers...),
		"scan with":       words(external.Scanners...),
		"fail-on":         words("negligible", "low", "medium", "high", "critical"),
		"filter":          filters,
		"format":          words("json", "table"),
		"info format":     words("json"),
		"packages format": words("json", "table", "spdx", "cyclonedx"),
		"inspect format":  words("json"),
		"version format":  words("json"),
		"save format":     words("docker", "oci"),
		"isolation":       words("default"),
		"list":            words("targets", "variables", "type=targets,format=json", "type=variables,format=json"),
		"mount":           mounts,
		"network":         words(networkNames()...),
		"net":             words(networkNames()...),
		"observe":         words("auto", "verify", "off"),
		"no-cache-filter": list(fromDockerfile(stageNames)),
		"output":          outputs,
		"export output":   paths,
		"save output":     paths,
		"platform":        list(platforms),
		"profile":         composeProfiles,
		"progress":        words("auto", "tty", "plain", "rawjson", "quiet", "none"),
		"provenance":      words("mode=min", "mode=max", "false"),
		"pull":            words("always", "missing", "never"),
		"refresh":         list(fromDockerfile(stageNames, "24h", "7d")),
		"sbom":            words("true", "false"),
		"secret":          secrets,
		"security-opt":    words("no-new-privileges"),
		"set":             bakeOverrides,
		"severity":        words("negligible", "low", "medium", "high", "critical"),
		"ssh":             fromDockerfile(sshNames),
		"step":            steps,
		"tag":             imageNames,
		"target":          fromDockerfile(stageNames),
		"type":            words("image"),
		"ulimit":          open(words("core=", "nofile=", "nproc=", "memlock=", "stack=")),
		"var":             bakeVariables,
		"volume":          open(paths),
		"cgroup-parent":   directories,
		"file":            paths,
		"iidfile":         paths,
		"input":           paths,
		"cidfile":         paths,
		"env-file":        paths,
		"metadata-file":   paths,
		"ci-config":       paths,
		"ignore-file":     paths,
		"vex":             paths,
		"policy":          paths,
	}
}

// argOffers are the choices of the arguments of a command, by its path or its name; the last is that of all further
// ones. A command that is not here has none.
func argOffers() map[string][]offer {
	all := func(o offer) []offer { return []offer{o} }
	once := func(o offer) []offer { return []offer{o, nothing} }
	return map[string][]offer{
		"blame":                     {anyImage, nothing},
		"bake":                      all(newOnly(bakeTargets)),
		"build":                     {directories, nothing},
		"compose build":             all(newOnly(composeServices)),
		"buildx inspect":            once(words(builderName)),
		"buildx rm":                 once(words(builderName)),
		"buildx stop":               once(words(builderName)),
		"buildx use":                once(words(builderName)),
		"buildx history inspect":    once(builds),
		"buildx history logs":       once(builds),
		"buildx history open":       once(builds),
		"buildx history rm":         all(newOnly(builds)),
		"buildx imagetools create":  all(newOnly(imageNames)),
		"buildx imagetools inspect": once(imageNames),
		"builds show":               once(builds),
		"builds logs":               once(builds),
		"buildx create":             {nothing},
		"vulndb import":             all(paths),
		"vulndb rm":                 all(nothing),
		"vulndb update":             all(words("Debian", "Alpine", "Ubuntu", "PyPI", "npm", "Go", "Maven", "RubyGems", "Packagist", "crates.io")),
		"mount export":              once(cacheMounts),
		"mount import":              {cacheMounts, paths},
		"mount rm":                  all(newOnly(cacheMounts)),
		"volume create":             {nothing},
		"volume inspect":            all(newOnly(volumes)),
		"volume rm":                 all(newOnly(volumes)),
		"container inspect":         all(newOnly(containers)),
		"container rm":              all(newOnly(containers)),
		"context create":            {nothing},
		"context inspect":           once(words(contextName)),
		"context rm":                once(words(contextName)),
		"context use":               once(words(contextName)),
		"cp":                        {copied, paths},
		"completion":                once(words(shells...)),
		"create":                    {anyImage, paths},
		"diff":                      {anyImage, anyImage, nothing},
		"du":                        once(anyImage),
		"explain":                   once(builds),
		"explore":                   once(anyImage),
		"export":                    once(both(anyImage, containers)),
		"history":                   once(anyImage),
		"images":                    once(repositories),
		"cache ls":                  once(cacheFrom),
		"cache prune":               once(cacheFrom),
		"cache verify":              once(cacheFrom),
		"image ls":                  once(repositories),
		"image rm":                  all(newOnly(anyImage)),
		"import":                    {paths, imageNames, nothing},
		"inputs":                    once(anyImage),
		"inspect":                   all(newOnly(both(anyImage, both(containers, volumes)))),
		"log":                       once(anyImage),
		"login":                     once(hosts),
		"logout":                    once(hosts),
		"packages":                  once(anyImage),
		"page":                      once(anyImage),
		"pull":                      once(imageNames),
		"push":                      once(imageNames),
		"rm":                        all(newOnly(containers)),
		"rmi":                       all(newOnly(anyImage)),
		"run":                       {anyImage, paths},
		"save":                      all(newOnly(imageNames)),
		"scan":                      once(anyImage),
		"show":                      once(anyImage),
		"tag":                       {anyImage, imageNames, nothing},
	}
}

func nothing(*request) choices { return choices{} }

// shells are those that there are completions for.
var shells = []string{"bash", "zsh", "fish"}

// complete sets up the completion of all commands.
func (a *app) complete(root *cobra.Command) {
	flags, arguments := flagOffers(), argOffers()
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		register := func(fl *pflag.Flag) {
			if fl.Value.Type() == "bool" || fl.Value.Type() == "boolfunc" {
				return
			}
			o := flags[cmd.Name()+" "+fl.Name]
			if o == nil {
				o = flags[fl.Name]
			}
			if o == nil {
				o = anything
			}
			_ = cmd.RegisterFlagCompletionFunc(fl.Name, a.completeBy(func(int) offer { return o }))
		}
		cmd.Flags().VisitAll(register)
		cmd.PersistentFlags().VisitAll(register)
		of := arguments[strings.TrimPrefix(cmd.CommandPath(), root.Name()+" ")]
		if of == nil {
			of = arguments[cmd.Name()]
		}
		if cmd.ValidArgsFunction == nil && !cmd.HasSubCommands() || of != nil {
			cmd.ValidArgsFunction = a.completeBy(func(n int) offer {
				if len(of) == 0 {
					return nothing
				}
				return of[min(n, len(of)-1)]
			})
		}
		for _, c := range cmd.Commands() {
			visit(c)
		}
	}
	visit(root)
}

// completeBy is an offer, chosen by the number of arguments before the word, as cobra asks for it.
func (a *app) completeBy(choose func(n int) offer) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		c := choose(len(args))(&request{app: a, cmd: cmd, args: args, word: word})
		var fit []string
		for _, w := range c.words {
			if strings.HasPrefix(w, word) {
				fit = append(fit, w)
			}
		}
		directive := cobra.ShellCompDirectiveKeepOrder
		switch {
		case c.dirs:
			return nil, cobra.ShellCompDirectiveFilterDirs
		case !c.files:
			directive |= cobra.ShellCompDirectiveNoFileComp
		}
		if c.open {
			directive |= cobra.ShellCompDirectiveNoSpace
		}
		return fit, directive
	}
}

// flag is the value of a flag of the command line, "" if the command has no such flag.
func (r *request) flag(name string) string {
	if fl := r.cmd.Flags().Lookup(name); fl != nil {
		return fl.Value.String()
	}
	return ""
}

// source is what a build on this command line would read.
func (r *request) source() builder.Source {
	s := builder.Source{Context: ".", Dockerfile: r.flag("file")}
	if len(r.args) > 0 {
		s.Context = r.args[0]
	}
	return s
}
