package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/look/anatomy"
	"github.com/strata-build/strata/internal/look/packages"
	"github.com/strata-build/strata/internal/look/view"
	"github.com/strata-build/strata/internal/look/vulnerability"
)

type diffFlags struct {
	patch, asJSON, exitCode bool
	vulnerabilities         bool
}

// comparison is what diff shows.
type comparison struct {
	*view.Diff
	Vulnerabilities *vulnerability.Difference `json:"vulnerabilities,omitempty"`
}

func (a *app) diff() *cobra.Command {
	f := &diffFlags{}
	cmd := &cobra.Command{
		Use:   "diff [OPTIONS] A B [-- PATH...]",
		Short: "Show how two images, steps or layers differ",
		Long: `Show the differences of two images, steps or layers: packages, the configuration, and the files that were added (+),
changed (~, with the attributes that differ) and removed (-). With paths, only the files at or below them.

With --vulnerabilities, also which known vulnerabilities came and went, by the advisories that strata vulndb has imported.

` + imageHelp,
		Args: args(2, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.vulnerabilities && len(args) > 2 {
				return usageError("--vulnerabilities is of whole images: leave out the paths")
			}
			return a.look(cmd.Context(), args[0], func(before *anatomy.Image) error {
				return a.look(cmd.Context(), args[1], func(after *anatomy.Image) error {
					c, err := a.compare(cmd.Context(), before, after, args[2:], f.vulnerabilities)
					if err != nil {
						return err
					}
					err = a.page(func(p *view.Printer) error {
						switch {
						case f.asJSON:
							return p.JSON(c)
						case f.patch:
							return c.Patch(cmd.Context(), p)
						}
						c.Print(p)
						if c.Vulnerabilities != nil {
							p.Line("")
							c.Vulnerabilities.Print(p)
						}
						return nil
					})
					if err == nil && f.exitCode && len(c.Files)+len(c.Config) > 0 {
						return &exit{code: exitError}
					}
					return err
				})
			})
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&f.patch, "patch", "p", false, "print unified diffs of the text files")
	fl.BoolVar(&f.vulnerabilities, "vulnerabilities", false, "show which known vulnerabilities came and went")
	fl.BoolVar(&f.asJSON, "json", false, "print JSON")
	fl.BoolVar(&f.exitCode, "exit-code", false, "end with 1 if anything differs, 0 otherwise")
	cmd.MarkFlagsMutuallyExclusive("patch", "json")
	cmd.MarkFlagsMutuallyExclusive("patch", "vulnerabilities")
	return cmd
}

// compare compares two images, and what is known of their vulnerabilities.
func (a *app) compare(ctx context.Context, before, after *anatomy.Image, paths []string, vulnerabilities bool) (*comparison, error) {
	read := packages.List
	if vulnerabilities {
		read = packages.Of
	}
	d, both, err := packages.Diff(ctx, before, after, paths, read)
	if err != nil || !vulnerabilities {
		return &comparison{Diff: d}, err
	}
	db, err := vulnerability.OpenReadOnly(vulnerability.Path(a.store.Root()))
	if err != nil {
		return nil, err
	}
	defer db.Close()
	var reports [2]*vulnerability.Report
	for i, inv := range both {
		reports[i] = &vulnerability.Report{}
		if inv == nil {
			continue // no file differs, and so no package
		}
		if reports[i], err = db.Scan(ctx, inv); err != nil {
			return nil, err
		}
	}
	return &comparison{d, vulnerability.Compare(reports[0], reports[1])}, nil
}
