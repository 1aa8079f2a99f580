package cli

import "github.com/spf13/cobra"

// commandGroup is a heading of `strata --help`, and the commands below it.
type commandGroup struct {
	id, title string
	commands  []*cobra.Command
}

func (a *app) groups() []commandGroup {
	return []commandGroup{
		{"build", "Build:", []*cobra.Command{a.build(), a.bake(), a.composeGroup(), a.explain(), a.builds(), a.builderGroup(), a.buildxGroup(), a.worker()}},
		{"look", "Inspect:", []*cobra.Command{a.explore(), a.webPage(), a.log(), a.show(), a.diff(), a.blame(), a.du(), a.history(), a.inputs(), a.packages(), a.scan(), a.inspect()}},
		{"enter", "Enter:", []*cobra.Command{a.run(), a.create(), a.copyFiles(), a.containers("ps [OPTIONS]"), a.removeContainers(), a.containerGroup()}},
		{"carry", "Transfer:", []*cobra.Command{
			a.pull(), a.push(), a.login(), a.logout(), a.save(), a.load(), a.importTar(), a.export(),
		}},
		{"keep", "Manage:", []*cobra.Command{
			a.images(), a.tag(), a.remove(), a.imageGroup(), a.volumeGroup(), a.mountGroup(), a.cacheGroup(), a.vulndbGroup(), a.systemGroup(), a.info(), a.printVersion(), a.completion(),
			a.contextGroup(), a.pluginInfo(),
		}},
	}
}
