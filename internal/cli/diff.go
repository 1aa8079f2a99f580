package cli

import (
	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/look/anatomy"
	"github.com/strata-build/strata/internal/look/view"
)

func (a *app) diff() *cobra.Command {
	var patch, asJSON, exitCode bool
	cmd := &cobra.Command{
		Use:   "diff [OPTIONS] A B [-- PATH...]",
		Short: "Show how two images, steps or layers differ",
		Long: `Show the differences of two images, steps or layers: packages of Debian, Alpine, Red Hat and Python, the
configuration, and the files that were added (+), changed (~, with the attributes that differ) and removed (-). With
paths, only the files at or below them.

` + imageHelp,
		Args: args(2, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.look(cmd.Context(), args[0], func(before *anatomy.Image) error {
				return a.look(cmd.Context(), args[1], func(after *anatomy.Image) error {
					d, err := view.NewDiff(cmd.Context(), before, after, args[2:])
					if err != nil {
						return err
					}
					err = a.page(func(p *view.Printer) error {
						switch {
						case asJSON:
							return p.JSON(d)
						case patch:
							return d.Patch(cmd.Context(), p)
						}
						d.Print(p)
						return nil
					})
					if err == nil && exitCode && len(d.Files)+len(d.Config) > 0 {
						return &exit{code: exitError}
					}
					return err
				})
			})
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&patch, "patch", "p", false, "print unified diffs of the text files")
	fl.BoolVar(&asJSON, "json", false, "print JSON")
	fl.BoolVar(&exitCode, "exit-code", false, "end with 1 if anything differs, 0 otherwise")
	cmd.MarkFlagsMutuallyExclusive("patch", "json")
	return cmd
}
