package cli

import (
	"slices"

	"github.com/spf13/cobra"
)

// commandGroup is a heading of `strata --help`, and the commands below it.
type commandGroup struct {
	id, title string
	commands  []commandMaker
}

// commandMaker makes the command of a name.
type commandMaker struct {
	name string
	make func() *cobra.Command
}

func (a *app) groups() []commandGroup {
	return []commandGroup{
		{"build", "Build:", []commandMaker{
			{"build", a.build}, {"bake", a.bake}, {"compose", a.composeGroup}, {"explain", a.explain},
			{"builds", a.builds}, {"builder", a.builderGroup}, {"buildx", a.buildxGroup}, {"worker", a.worker},
		}},
		{"look", "Inspect:", []commandMaker{
			{"explore", a.explore}, {"page", a.webPage}, {"log", a.log}, {"show", a.show}, {"diff", a.diff},
			{"blame", a.blame}, {"du", a.du}, {"history", a.history}, {"inputs", a.inputs}, {"packages", a.packages},
			{"scan", a.scan}, {"inspect", a.inspect},
		}},
		{"enter", "Enter:", []commandMaker{
			{"run", a.run}, {"create", a.create}, {"cp", a.copyFiles}, {"ps", a.ps},
			{"rm", a.removeContainers}, {"container", a.containerGroup},
		}},
		{"carry", "Transfer:", []commandMaker{
			{"pull", a.pull}, {"push", a.push}, {"login", a.login}, {"logout", a.logout}, {"save", a.save},
			{"load", a.load}, {"import", a.importTar}, {"export", a.export},
		}},
		{"keep", "Manage:", []commandMaker{
			{"images", a.images}, {"tag", a.tag}, {"rmi", a.remove}, {"image", a.imageGroup}, {"volume", a.volumeGroup},
			{"mount", a.mountGroup}, {"cache", a.cacheGroup}, {"vulndb", a.vulndbGroup}, {"system", a.systemGroup},
			{"info", a.info}, {"version", a.printVersion}, {"completion", a.completion}, {"context", a.contextGroup},
			{"docker-cli-plugin-metadata", a.pluginInfo},
		}},
	}
}

// wanted says which commands a command line can be about. To make all of them, with their options and examples, takes
// as long as half an unchanged build of a small Dockerfile.
func (a *app) wanted(args []string) func(name string) bool {
	if slices.Equal(args, []string{"--version"}) {
		return func(string) bool { return false }
	}
	for _, g := range a.groups() {
		if len(args) > 0 && slices.ContainsFunc(g.commands, func(c commandMaker) bool { return c.name == args[0] }) {
			return func(name string) bool { return name == args[0] }
		}
	}
	return func(string) bool { return true } // flags first, an alias, help, or what is no command
}
