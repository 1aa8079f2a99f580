package cli

import "github.com/spf13/cobra"

func (a *app) commands() []*cobra.Command {
	return []*cobra.Command{
		a.build(),
		a.pull(),
		a.push(),
		a.save(),
		a.load(),
		a.importTar(),
		a.export(),
		a.login(),
		a.logout(),
		a.run(),
		a.history(),
		a.log(),
		a.explore(),
		a.show(),
		a.diff(),
		a.blame(),
		a.du(),
		a.explain(),
		a.builds(),
		a.inspect(),
		a.images(),
		a.tag(),
		a.remove(),
		a.printVersion(),
		a.info(),
		a.imageGroup(),
		a.systemGroup(),
		a.builderGroup(),
	}
}
