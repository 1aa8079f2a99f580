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
	}
}
