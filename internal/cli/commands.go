package cli

import "github.com/spf13/cobra"

func (a *app) commands() []*cobra.Command {
	return []*cobra.Command{
		a.build(),
		a.importTar(),
		a.pull(),
		a.push(),
		a.run(),
	}
}
