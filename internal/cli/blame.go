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
		Short: "Show which instruction added a file, and which changed it later",
		Long: `Show which instruction, in which layer of which base image, added a file, and every later instruction that changed or
removed it. For a directory, show each entry with the last instruction that changed it or something below it.

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
