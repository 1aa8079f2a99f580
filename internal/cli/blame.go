package cli

import (
	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/look/anatomy"
	"github.com/strata-build/strata/internal/look/view"
)

func (a *app) blame() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "blame [OPTIONS] IMAGE PATH",
		Short: "Show which instruction put a file there, and which touched it later",
		Long: `Show which instruction, in which layer, of which image of the chain, put a file there, and every later one that
touched or removed it. Of a directory each entry is shown, with the last instruction that changed it or something in it.

` + imageHelp,
		Args: args(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.look(cmd.Context(), args[0], func(im *anatomy.Image) error {
				b, err := view.NewBlame(cmd.Context(), im, args[1])
				if err != nil {
					return err
				}
				return a.page(func(p *view.Printer) error {
					if asJSON {
						return p.JSON(b)
					}
					return b.Print(p)
				})
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
