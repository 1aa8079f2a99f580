package cli

import (
	"errors"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/look/inventory"
	"github.com/strata-build/strata/internal/store"
)

func (a *app) inspect() *cobra.Command {
	var format, kind, wanted string
	cmd := &cobra.Command{
		Use:   "inspect [OPTIONS] IMAGE|STEP-ID...",
		Short: "Show details of images or steps, as JSON",
		Args:  args(1, -1),
		RunE: func(_ *cobra.Command, args []string) error {
			if kind != "" && kind != "image" {
				return usageError("--type %s: there are images only", kind)
			}
			only, err := parseOnlyPlatform(wanted)
			if err != nil {
				return err
			}
			return a.runInspect(args, only, format)
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", "`TEMPLATE` in Go's language, such as '{{json .Config.Env}}'")
	cmd.Flags().StringVar(&kind, "type", "", "`TYPE` of the objects: only image")
	onlyPlatformFlag(cmd.Flags(), &wanted)
	return cmd
}

// runInspect prints the objects that it finds, and returns an error afterwards if others do not
// exist, as docker does.
func (a *app) runInspect(names []string, only *ocispec.Platform, format string) error {
	found := []any{}
	missing := false
	for _, name := range names {
		c, err := a.findOnly(name, only)
		if errors.Is(err, store.ErrNotFound) {
			fmt.Fprintf(a.stderr, "strata: %s\n", printable(err.Error()))
			missing = true
			continue
		}
		if err != nil {
			return err
		}
		img, err := inventory.Load(a.store, c.ID)
		if err != nil {
			return err
		}
		i, err := inventory.Inspect(img)
		if err != nil {
			return err
		}
		found = append(found, i)
	}
	if err := a.printInspected(found, format); err != nil {
		return err
	}
	if missing {
		return &exit{code: exitError}
	}
	return nil
}

func (a *app) printInspected(found []any, format string) error {
	if format != "" {
		return human.Template(a.texts(), format, found...)
	}
	return human.JSON(a.stdout, "    ", found)
}
