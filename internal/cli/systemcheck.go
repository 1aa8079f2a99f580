package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store"
)

// Exit codes of `strata system check`, beside 0 for a sound store.
const (
	exitDamaged  = 1
	exitRepaired = 3
)

func (a *app) systemCheck() *cobra.Command {
	var o store.CheckOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check [OPTIONS]",
		Short: "Check that everything in the store is as it should be",
		Long: "Check that everything in the store is as it should be: meta.db, images and their names, layers, blobs,\n" +
			"records of steps, and what is kept of contexts and downloads.\n" +
			"Exits with 0 if all is sound, 1 if something is damaged, and 3 if all that was damaged is repaired.",
		Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runSystemCheck(cmd.Context(), o, asJSON) },
	}
	fl := cmd.Flags()
	fl.BoolVar(&o.ReadData, "read-data", false, "read all bytes and compare their digests, which finds a flipped bit")
	fl.BoolVar(&o.Repair, "repair", false, "set aside what is damaged, so that it is made again when it is needed")
	fl.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) runSystemCheck(ctx context.Context, o store.CheckOptions, asJSON bool) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	r, err := s.Check(ctx, o)
	if err != nil {
		return err
	}
	if asJSON {
		err = human.JSON(a.stdout, "  ", r)
	} else {
		err = a.printReport(r, o)
	}
	switch {
	case err != nil:
		return err
	case !r.Sound():
		return &exit{code: exitDamaged}
	case len(r.Problems) > 0:
		return &exit{code: exitRepaired}
	}
	return nil
}

func (a *app) printReport(r *store.CheckReport, o store.CheckOptions) error {
	for _, p := range r.Problems {
		what := p.Kind
		switch {
		case p.Name != "":
			what += " " + p.Name
		case p.Digest != "":
			what += " " + image.ShortID(p.Digest)
		}
		state := "damaged"
		if p.Repaired {
			state = "set aside"
		}
		fmt.Fprintf(a.stdout, "%s: %s: %s\n", state, printable(what), printable(p.Wrong))
		if len(p.Needed) > 0 {
			fmt.Fprintln(a.stdout, "  needed by", printable(strings.Join(p.Needed, ", ")))
		}
		fmt.Fprintln(a.stdout, "  can be had again", printable(p.Again))
	}
	result := "sound"
	switch {
	case !r.Sound():
		result = "damaged"
		if !o.Repair {
			result += "; strata system check --repair sets aside what is"
		}
	case len(r.Problems) > 0:
		result = "repaired"
	}
	_, err := fmt.Fprintf(a.stdout, "%d images, %d layers, %d blobs and %d records are as they should be; the store is %s\n",
		r.Images, r.Layers, r.Blobs, r.Records, result)
	return err
}
