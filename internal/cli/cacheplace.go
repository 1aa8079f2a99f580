package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/builder"
	"github.com/strata-build/strata/internal/builder/explain"
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/look/inventory"
)

// cacheGroup is `strata cache …`: caches that are elsewhere, in the places that --cache-to names.
func (a *app) cacheGroup() *cobra.Command {
	cmd := group("cache", "Look through caches in object stores: those of --cache-to type=s3 and type=gcs")
	cmd.AddCommand(a.cacheList(), a.cacheVerify(), a.cachePrune())
	return cmd
}

const placeHelp = "PLACE is what --cache-from takes: type=s3,bucket=BUCKET,…"

func (a *app) cacheList() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "ls [OPTIONS] PLACE",
		Short: "List the records of a cache",
		Long:  "List the records of a cache: the steps that it has, with the sizes of their layers. " + placeHelp,
		Args:  args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runCacheList(cmd.Context(), args[0], format)
		},
	}
	cmd.Flags().StringVar(&format, "format", "", "`TEMPLATE` in Go's language, 'table TEMPLATE' or json; fields: .Key .Layer .Size .Written .Made .Took .Instruction")
	return cmd
}

// managed opens a place that can be looked through.
func (a *app) managed(text string) (places.Manager, error) {
	spec, err := builder.CachePlaces.ParseFrom(text)
	if err != nil {
		return nil, usageError("%w", err)
	}
	create := builder.CachePlaces.Kind(spec).Create
	if create == nil {
		return nil, usageError("%s: an image is looked through by strata log and strata history", text)
	}
	m, err := a.mover()
	if err != nil {
		return nil, err
	}
	place, err := create(m, spec)
	if err != nil {
		return nil, err
	}
	manager, ok := place.(places.Manager)
	if !ok {
		return nil, usageError("%s: a cache of this type is one document, which each build writes anew; it takes type=s3 and type=gcs", text)
	}
	return manager, nil
}

func (a *app) runCacheList(ctx context.Context, text, format string) error {
	m, err := a.managed(text)
	if err != nil {
		return err
	}
	var rows []human.Row
	for e, err := range m.Entries(ctx) {
		if err != nil {
			return err
		}
		rows = append(rows, entryCells(e))
	}
	return a.list(human.Listing{
		Headers: map[string]string{
			"Key": "KEY", "Layer": "LAYER", "Size": "SIZE", "Written": "WRITTEN", "Made": "MADE", "Took": "TOOK", "Instruction": "INSTRUCTION",
		},
		Default: []string{"Key", "Layer", "Size", "Written", "Took", "Instruction"},
	}, format, rows)
}

func entryCells(e places.Entry) human.Row {
	row := human.Row{"Key": image.ShortID(e.Key), "Layer": "", "Size": "", "Written": human.Since(e.Written), "Made": "", "Took": "", "Instruction": "(damaged)"}
	if d := e.Mount; d != nil {
		row["Size"], row["Made"] = human.Size(d.Size()), human.Since(d.Written)
		row["Instruction"] = human.Clean(fmt.Sprintf("cache mount %s (%s), %d files", strings.TrimPrefix(d.Mount.ID, "/"), d.Mount.Arch, d.Files))
	}
	if e.Record == nil {
		return row
	}
	row["Made"], row["Took"], row["Instruction"] = human.Since(e.Record.Created), explain.Seconds(e.Record.Took.Milliseconds()), human.Clean(human.Shorten(e.Record.Instruction, 60))
	if e.Record.Layer != "" {
		row["Layer"] = image.ShortID(e.Record.Layer)
	}
	if e.Blob != nil {
		row["Size"] = human.Size(e.Blob.Size)
	}
	return row
}

func (a *app) cacheVerify() *cobra.Command {
	var read bool
	cmd := &cobra.Command{
		Use:   "verify [OPTIONS] PLACE",
		Short: "Check that the records of a cache and their layers are whole",
		Long: "Check that the records of a cache can be read, and that their layers are there, with --read-data by reading them. The exit code is\n" +
			"1 where something is damaged; strata cache prune removes damaged records. " + placeHelp,
		Args: args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runCacheVerify(cmd.Context(), args[0], read) },
	}
	cmd.Flags().BoolVar(&read, "read-data", false, "read all layers, and compare them with their digests")
	return cmd
}

func (a *app) runCacheVerify(ctx context.Context, text string, read bool) error {
	m, err := a.managed(text)
	if err != nil {
		return err
	}
	records, damaged := 0, 0
	for e, err := range m.Entries(ctx) {
		if err != nil {
			return err
		}
		records++
		err := m.Verify(ctx, e, read)
		if errors.Is(err, places.ErrDamaged) {
			damaged++
			fmt.Fprintln(a.stdout, printable(err.Error()))
		} else if err != nil {
			return err
		}
	}
	if damaged > 0 {
		return fmt.Errorf("%d of %d records are damaged, or their layers; a build that needs one runs its step, and --cache-to writes it again", damaged, records)
	}
	_, err = fmt.Fprintf(a.stdout, "%d records and their layers are as they should be\n", records)
	return err
}

func (a *app) cachePrune() *cobra.Command {
	filters := []string{}
	var dry bool
	var most string
	cmd := &cobra.Command{
		Use:   "prune [OPTIONS] PLACE",
		Short: "Remove old records and mounts of a cache, and the layers that none needs",
		Long: "Remove the records and cache mounts of a cache that no build has written for a while, those that are damaged, and the layers that no record names.\n" +
			"Builds may go on meanwhile. " + placeHelp,
		Args: args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(filters) == 0 {
				filters = []string{"until=30d"}
			}
			filter, err := inventory.ParseFilter(nil, filters, "until")
			if err != nil {
				return &exit{exitUsage, err}
			}
			o := places.PruneOptions{Before: filter.Until, Dry: dry}
			if most != "" {
				if o.MaxBytes, err = units.FromHumanSize(most); err != nil || o.MaxBytes <= 0 {
					return usageError("--max-used-space %s: it is a size such as 50GB", most)
				}
			}
			return a.runCachePrune(cmd.Context(), args[0], o)
		},
	}
	cmd.Flags().Var((*listFlag)(&filters), "filter", "remove what was last written before this, as `KEY=VALUE`: until=TIME or DURATION (default until=30d)")
	cmd.Flags().StringVar(&most, "max-used-space", "", "remove what was written first until the layers and cache mounts take no more than this `SIZE`")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would be removed, and remove nothing")
	return cmd
}

func (a *app) runCachePrune(ctx context.Context, text string, o places.PruneOptions) error {
	m, err := a.managed(text)
	if err != nil {
		return err
	}
	p, ok := m.(places.Pruner)
	if !ok {
		return usageError("%s: nothing of it can be removed by itself", text)
	}
	pruned, err := p.Prune(ctx, o)
	if err != nil {
		return err
	}
	verb := "removed"
	if o.Dry {
		verb = "would remove"
	}
	what := fmt.Sprintf("%d records", pruned.Records)
	if pruned.Mounts > 0 {
		what += fmt.Sprintf(", %d cache mounts", pruned.Mounts)
	}
	_, err = fmt.Fprintf(a.stdout, "%s %s and %d layers, %s\n", verb, what, pruned.Blobs, human.Size(pruned.Bytes))
	return err
}
