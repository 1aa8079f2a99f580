package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/human/suggest"
	"github.com/strata-build/strata/internal/look/inventory"
	"github.com/strata-build/strata/internal/store"
)

type inspectFlags struct {
	format, kind string
	attestations bool
	only         *ocispec.Platform
}

// inspectedKinds are the objects that inspect finds, by the names that docker gives them.
var inspectedKinds = []string{"image", "container", "volume"}

func (a *app) inspect() *cobra.Command {
	f := &inspectFlags{}
	var wanted string
	cmd := &cobra.Command{
		Use:   "inspect [OPTIONS] IMAGE|STEP-ID|CONTAINER|VOLUME...",
		Short: "Show details of images, steps, containers or volumes, as JSON",
		Args:  args(1, -1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if f.kind != "" && !slices.Contains(inspectedKinds, f.kind) {
				return usageError("--type %s: it is one of %s%s", f.kind, strings.Join(inspectedKinds, ", "), suggest.DidYouMean(f.kind, inspectedKinds))
			}
			if cmd.Flags().Changed("size") {
				fmt.Fprintln(a.stderr, "WARNING: --size ignored: it is in .Size of an image")
			}
			if f.only, err = parseOnlyPlatform(wanted); err != nil {
				return err
			}
			if f.attestations {
				return a.runInspectAttestations(cmd.Context(), args, f)
			}
			return a.runInspect(args, f)
		},
	}
	cmd.Flags().StringVarP(&f.format, "format", "f", "", "`TEMPLATE` in Go's language, such as '{{json .Config.Env}}'")
	cmd.Flags().StringVar(&f.kind, "type", "", "`TYPE` of the objects: image, container or volume")
	cmd.Flags().BoolP("size", "s", false, "ignored: .Size of an image is always there")
	cmd.Flags().BoolVar(&f.attestations, "attestations", false, "show what is attested of images, here or in a registry, instead: provenance, SBOM")
	onlyPlatformFlag(cmd.Flags(), &wanted)
	return cmd
}

// runInspect prints the objects that it finds, and returns an error afterwards if others do not
// exist, as docker does.
func (a *app) runInspect(names []string, f *inspectFlags) error {
	found := []any{}
	missing := false
	for _, name := range names {
		o, err := a.inspectOne(name, f)
		if errors.Is(err, store.ErrNotFound) {
			fmt.Fprintf(a.stderr, "strata: %s\n", printable(err.Error()))
			missing = true
			continue
		}
		if err != nil {
			return err
		}
		found = append(found, o)
	}
	if err := a.printInspected(found, f.format); err != nil {
		return err
	}
	if missing {
		return &exit{code: exitError}
	}
	return nil
}

// inspectOne describes what a name means: as in docker a container, an image, or else a volume.
func (a *app) inspectOne(name string, f *inspectFlags) (any, error) {
	if f.kind == "container" || f.kind == "volume" {
		return a.inspectOther(name, f.kind)
	}
	if f.kind == "" && f.only == nil {
		if c, err := a.inspectOther(name, "container"); err == nil {
			return c, nil
		}
	}
	c, err := a.findOnly(name, f.only)
	if errors.Is(err, store.ErrNotFound) && f.kind == "" {
		if v, err := a.inspectOther(name, "volume"); err == nil {
			return v, nil
		}
	}
	if err != nil {
		return nil, err
	}
	img, err := inventory.Load(a.store, c.ID)
	if err != nil {
		return nil, err
	}
	return inventory.Inspect(img)
}

func (a *app) printInspected(found []any, format string) error {
	if format != "" {
		return human.Template(a.texts(), format, found...)
	}
	return human.JSON(a.stdout, "    ", found)
}
