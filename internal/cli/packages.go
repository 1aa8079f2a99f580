package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/builder/export"
	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/look/anatomy"
	"github.com/strata-build/strata/internal/look/external"
	"github.com/strata-build/strata/internal/look/packages"
	"github.com/strata-build/strata/internal/look/sbom"
	"github.com/strata-build/strata/internal/look/view"
)

type packagesFlags struct {
	filters         []string
	asJSON, changes bool
	format, with    string
}

func (a *app) packages() *cobra.Command {
	f := &packagesFlags{}
	cmd := &cobra.Command{
		Use:   "packages [OPTIONS] IMAGE",
		Short: "Show the packages of an image, each with the instruction that brought it",
		Long: `Show which packages an image has, in which version, and which layer and instruction brought each. Packages of Debian,
Alpine, Red Hat, Python, Node.js, Ruby, PHP, Java archives, Go programs, and Rust programs built with cargo auditable are
read; lists of others are named. With --changes, show what each layer added (+), upgraded (~) and removed (-).

` + imageHelp,
		Args: args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkWith(f.with, external.Listers); err != nil {
				return err
			}
			filter, err := packages.ParseFilter(f.filters)
			if err != nil {
				return &exit{exitUsage, err}
			}
			return a.look(cmd.Context(), args[0], func(im *anatomy.Image) error {
				inv, err := a.inventory(cmd.Context(), im, f.with)
				if err != nil {
					return err
				}
				inv.Keep(filter)
				if write := bills[f.format]; write != nil {
					return a.writeBill(inv, image.Created(im.Config), write)
				}
				return a.printPackages(inv, f)
			})
		},
	}
	fl := cmd.Flags()
	fl.Var((*listFlag)(&f.filters), "filter", "list only matching packages, as `KEY=VALUE`: type=dpkg, name=PATTERN, ecosystem=NAME, layer=NUMBER, base=true or false")
	fl.BoolVar(&f.changes, "changes", false, "show what each layer added, upgraded and removed")
	fl.BoolVar(&f.asJSON, "json", false, "print JSON")
	fl.StringVar(&f.format, "format", "", "`TEMPLATE` in Go's language, 'table TEMPLATE' or json; spdx (2.3) or cyclonedx (1.6) for a bill of materials; fields: .Name .Version .Type .Architecture .Licence .Source .PURL .Path .Layer .Base .Instruction")
	fl.StringVar(&f.with, "with", "", "have another `PROGRAM`, which is installed, list the packages: syft")
	cmd.MarkFlagsMutuallyExclusive("json", "format", "changes")
	cmd.MarkFlagsMutuallyExclusive("with", "changes")
	return cmd
}

// inventory are an image's packages, as strata finds them or another program, with.
func (a *app) inventory(ctx context.Context, im *anatomy.Image, with string) (*packages.Inventory, error) {
	if with == "" {
		return packages.Of(ctx, im)
	}
	m, err := a.mover()
	if err != nil {
		return nil, err
	}
	return external.Packages(ctx, m, im, with)
}

// checkWith looks whether --with names a program that can be asked.
func checkWith(with string, programs []string) error {
	if with == "" || slices.Contains(programs, with) {
		return nil
	}
	return usageError("--with %s: it is %s", with, strings.Join(programs, " or "))
}

// bills are the formats of --format that are bills of materials.
var bills = map[string]func(*packages.Inventory, sbom.About) any{"spdx": sbom.SPDX, "cyclonedx": sbom.CycloneDX}

// writeBill prints a bill of materials, of the time at which the image was made, or of SOURCE_DATE_EPOCH.
func (a *app) writeBill(inv *packages.Inventory, made time.Time, write func(*packages.Inventory, sbom.About) any) error {
	epoch, err := export.ParseEpoch(os.Getenv(sourceDateEpoch))
	if err != nil {
		return err
	}
	if epoch != nil {
		made = *epoch
	}
	if err := human.JSON(a.stdout, "  ", write(inv, sbom.About{Version: a.version, Created: made})); err != nil {
		return err
	}
	return unreadPackages(a.stderr, inv)
}

func (a *app) printPackages(inv *packages.Inventory, f *packagesFlags) error {
	switch {
	case f.asJSON:
		return human.JSON(a.stdout, "  ", inv)
	case f.changes:
		return a.page(func(p *view.Printer) error { return inv.PrintChanges(p) })
	}
	rows := make([]human.Row, len(inv.Packages))
	for i := range inv.Packages {
		rows[i] = packageCells(&inv.Packages[i])
	}
	l := human.Listing{
		Headers: map[string]string{
			"Name": "NAME", "Version": "VERSION", "Type": "TYPE", "Architecture": "ARCHITECTURE", "Licence": "LICENCE", "Source": "SOURCE",
			"PURL": "PURL", "Path": "PATH", "Layer": "LAYER", "Base": "BASE", "Instruction": "INSTRUCTION",
		},
		Default: []string{"Name", "Version", "Type", "Layer", "Instruction"},
	}
	if f.format == "" {
		for _, r := range rows {
			r["Name"], r["Version"] = human.Shorten(r["Name"], 40), human.Shorten(r["Version"], 32)
			r["Instruction"] = human.Shorten(r["Instruction"], 60)
		}
	}
	if err := a.list(l, f.format, rows); err != nil {
		return err
	}
	return unreadPackages(a.stderr, inv)
}

// unreadPackages says of which lists nothing is known.
func unreadPackages(w io.Writer, inv *packages.Inventory) error {
	for _, u := range inv.Unread {
		if _, err := fmt.Fprintln(w, human.Clean(u.String())); err != nil {
			return err
		}
	}
	return nil
}

func packageCells(p *packages.Package) human.Row {
	return human.Row{
		"Name": human.Clean(p.Name), "Version": human.Clean(p.Version), "Type": p.Manager, "Architecture": human.Clean(p.Architecture),
		"Licence": human.Clean(p.Licence), "Source": human.Clean(p.Source), "PURL": p.PURL, "Path": human.Clean(p.Path),
		"Layer": strconv.Itoa(p.Layer.Layer), "Base": strconv.FormatBool(p.Layer.Base), "Instruction": human.Clean(p.Layer.Instruction),
	}
}
