package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store"
)

func (a *app) diskUse() *cobra.Command {
	var verbose bool
	var format string
	cmd := &cobra.Command{
		Use:   "df [OPTIONS]",
		Short: "Show the disk usage of images and the build cache",
		Args:  args(0, 0),
		RunE: func(*cobra.Command, []string) error {
			return a.runDiskUse(verbose, format)
		},
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "list images, layers and cache records one by one")
	cmd.Flags().StringVar(&format, "format", "", "`TEMPLATE` in Go's language, 'table TEMPLATE' or json; fields: .Type .TotalCount .Active .Size .Reclaimable; with -v one template for all: .Images .Containers .Volumes .BuildCache, which are lists")
	return cmd
}

func (a *app) runDiskUse(verbose bool, format string) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	d, err := s.Disk()
	if err != nil {
		return err
	}
	if verbose {
		return a.runDiskUseInFull(s, d, format)
	}
	l := human.Listing{
		Headers: map[string]string{"Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE", "Reclaimable": "RECLAIMABLE"},
		Default: []string{"Type", "TotalCount", "Active", "Size", "Reclaimable"},
		Raw:     []string{"type Type", "total TotalCount", "active Active", "size Size", "reclaimable Reclaimable"},
	}
	containers, err := s.Containers()
	if err != nil {
		return err
	}
	volumes, err := volumeUse(s)
	if err != nil {
		return err
	}
	return a.list(l, format, []human.Row{
		useRow("Images", d.Images), useRow("Containers", store.Usage{Count: len(containers)}), useRow("Local Volumes", volumes),
		useRow("Build Cache", d.Cache),
	})
}

// volumeUse is what the volumes take.
func volumeUse(s *store.Store) (store.Usage, error) {
	all, err := s.Volumes()
	if err != nil {
		return store.Usage{}, err
	}
	use := store.Usage{Count: len(all)}
	for _, v := range all {
		use.Size += v.Disk
		if v.InUse {
			use.Active++
		} else {
			use.Reclaimable += v.Disk
		}
	}
	return use, nil
}

func useRow(kind string, u store.Usage) human.Row {
	reclaimable := human.FullSize(u.Reclaimable)
	if u.Size > 0 {
		reclaimable += fmt.Sprintf(" (%d%%)", u.Reclaimable*100/u.Size)
	}
	return human.Row{
		"Type": kind, "TotalCount": strconv.Itoa(u.Count), "Active": strconv.Itoa(u.Active),
		"Size": human.FullSize(u.Size), "Reclaimable": reclaimable,
	}
}

func layerListing() human.Listing {
	return human.Listing{
		Headers: map[string]string{"ID": "LAYER", "Size": "SIZE", "Created": "CREATED", "Images": "IMAGES"},
		Default: []string{"ID", "Size", "Created", "Images"},
	}
}

func layerRows(layers []store.LayerUse) []human.Row {
	var rows []human.Row
	for _, l := range layers {
		if l.Disk == 0 {
			continue
		}
		rows = append(rows, human.Row{
			"ID": image.ShortID(l.DiffID), "Size": human.FullSize(l.Disk), "Created": human.Since(l.Added), "Images": strconv.Itoa(l.Images),
		})
	}
	return rows
}

// printRecords lists the cache records: the size of each record's layer, the images and records
// that share it, and the bytes that a prune would free.
func (a *app) printRecords(s *store.Store, d *store.Disk) error {
	uses, err := s.RecordUses(d)
	if err != nil {
		return err
	}
	l := human.Listing{
		Headers: map[string]string{
			"ID": "CACHE ID", "Size": "SIZE", "Created": "CREATED", "Used": "LAST USED", "Shared": "SHARED WITH",
			"Reclaimable": "RECLAIMABLE", "Instruction": "INSTRUCTION",
		},
		Default: []string{"ID", "Size", "Created", "Used", "Shared", "Reclaimable", "Instruction"},
	}
	var rows []human.Row
	for _, u := range uses {
		row := human.Row{
			"ID": image.ShortID(u.Key), "Size": human.FullSize(u.Disk), "Created": human.Since(u.Made), "Used": human.Since(u.Used),
			"Shared": sharedWith(u), "Reclaimable": human.FullSize(u.Disk), "Instruction": "-",
		}
		if u.Images > 0 {
			row["Reclaimable"] = human.FullSize(0)
		}
		if r, err := cache.Decode(u.Data); err == nil {
			row["Instruction"] = human.Shorten(human.Clean(r.Instruction), 45)
		}
		rows = append(rows, row)
	}
	return a.list(l, "", rows)
}

// sharedWith returns the number of images and of other records that use a record's layer: "2
// images, 1 record", or "-".
func sharedWith(u store.RecordUse) string {
	var parts []string
	for _, n := range []struct {
		count int
		noun  string
	}{{u.Images, "image"}, {u.Records, "record"}} {
		switch {
		case n.count == 1:
			parts = append(parts, "1 "+n.noun)
		case n.count > 1:
			parts = append(parts, fmt.Sprintf("%d %ss", n.count, n.noun))
		}
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, ", ")
}

func mountListing() human.Listing {
	return human.Listing{
		Headers: map[string]string{"ID": "CACHE MOUNT", "Size": "SIZE", "Created": "CREATED", "Used": "LAST USED", "InUse": "IN USE"},
		Default: []string{"ID", "Size", "Created", "Used", "InUse"},
	}
}

// mountRows lists the cache mounts by id. Further instances, of sharing=private, are listed with
// their number.
func mountRows(mounts []store.CacheMountUse) []human.Row {
	var rows []human.Row
	for _, u := range mounts {
		id := strings.TrimPrefix(u.ID, "/") // the namespace, which is usually empty, ends in a slash
		if u.Instance > 0 {
			id += " #" + strconv.Itoa(u.Instance+1)
		}
		rows = append(rows, human.Row{
			"ID": id, "Size": human.FullSize(u.Disk), "Created": human.Since(u.Created), "Used": human.Since(u.Used),
			"InUse": strconv.FormatBool(u.InUse),
		})
	}
	return rows
}
