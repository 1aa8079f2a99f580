package cli

import (
	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/look/anatomy"
	"github.com/strata-build/strata/internal/look/view"
)

func (a *app) du() *cobra.Command {
	var o view.DuOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "du [OPTIONS] IMAGE [PATH]",
		Short: "Show the size of an image by layer and directory, and the wasted bytes",
		Long: `Show the size of an image by layer and directory. Bytes are wasted if a later step removes the file or writes it
again: these are listed with the step, and with what to change in the Dockerfile.

` + imageHelp,
		Args: args(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				o.Path = args[1]
			}
			return a.look(cmd.Context(), args[0], func(im *anatomy.Image) error {
				d, err := view.NewDu(cmd.Context(), im, o)
				if err != nil {
					return err
				}
				return a.page(func(p *view.Printer) error {
					if asJSON {
						return p.JSON(d)
					}
					d.Print(p)
					return nil
				})
			})
		},
	}
	fl := cmd.Flags()
	fl.IntVarP(&o.Depth, "max-depth", "d", 1, "list directories down to this `DEPTH`")
	fl.IntVarP(&o.Largest, "largest", "n", 10, "list the `N` largest entries of each directory; 0 lists all")
	fl.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
