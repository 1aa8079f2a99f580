package cli

import (
	"fmt"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/look/inventory"
	"github.com/strata-build/strata/internal/store"
)

// cacheEntry is a line of buildx du: a record or a cache mount.
type cacheEntry struct {
	key                   digest.Digest // of a record
	id, kind, description string
	size                  int64 // bytes
	created, used         time.Time
	shared                bool // an image has it too
	inUse                 bool
}

type cacheUseFlags struct {
	format  string
	verbose bool
	filters []string
}

// cacheUse is `strata buildx du` and `strata builder du`: records and cache mounts in buildx's form.
func (a *app) cacheUse() *cobra.Command {
	f := &cacheUseFlags{}
	cmd := &cobra.Command{
		Use:   "du [OPTIONS]",
		Short: "List the build cache in buildx's form",
		Args:  args(0, 0),
		RunE:  func(*cobra.Command, []string) error { return a.runCacheUse(f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.format, "format", "", "`TEMPLATE` in Go's language, 'table TEMPLATE', pretty or json; fields: .ID .Reclaimable .Size .LastUsedAt .CreatedAt .Description .Type .Shared .Mutable .UsageCount .Parents")
	fl.BoolVar(&f.verbose, "verbose", false, "print all that is known of each entry, as --format pretty")
	fl.Var((*listFlag)(&f.filters), "filter", "list "+cacheFilterHelp)
	ignoreTimeout(fl)
	return cmd
}

func (a *app) runCacheUse(f *cacheUseFlags) error {
	if f.verbose && f.format != "" {
		return usageError("--verbose and --format exclude each other")
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	filter, err := parseCacheFilter(s, f.filters)
	if err != nil {
		return err
	}
	all, err := cacheEntries(s)
	if err != nil {
		return err
	}
	pretty := f.verbose || f.format == "pretty"
	table := f.format == "" || f.format == "table"
	var rows []human.Row
	sums := map[string]int64{}
	for _, e := range all {
		if !filter.matches(&e) {
			continue
		}
		sums["total"] += e.size
		if !e.inUse {
			sums["reclaimable"] += e.size
		}
		if e.shared {
			sums["shared"] += e.size
		}
		rows = append(rows, e.row(table))
	}
	if pretty {
		a.printCacheEntries(rows)
	} else if err := a.list(cacheListing(), f.format, rows); err != nil {
		return err
	}
	if (table || pretty) && len(f.filters) == 0 {
		w := tabwriter.NewWriter(a.stdout, 1, 8, 1, '\t', 0)
		if sums["shared"] > 0 {
			fmt.Fprintf(w, "Shared:\t%s\nPrivate:\t%s\n", human.FullSize(sums["shared"]), human.FullSize(sums["total"]-sums["shared"]))
		}
		fmt.Fprintf(w, "Reclaimable:\t%s\nTotal:\t%s\n", human.FullSize(sums["reclaimable"]), human.FullSize(sums["total"]))
		return w.Flush()
	}
	return nil
}

func cacheListing() human.Listing {
	return human.Listing{
		Headers: map[string]string{
			"ID": "ID", "Reclaimable": "RECLAIMABLE", "Size": "SIZE", "LastUsedAt": "LAST ACCESSED", "CreatedAt": "CREATED AT",
			"Description": "DESCRIPTION", "Type": "TYPE", "Shared": "SHARED", "Mutable": "MUTABLE", "UsageCount": "USAGE COUNT", "Parents": "PARENTS",
		},
		Default: []string{"ID", "Reclaimable", "Size", "LastUsedAt"},
	}
}

// cacheEntries lists records, those used last first, and then cache mounts.
func cacheEntries(s *store.Store) ([]cacheEntry, error) {
	d, err := s.Disk()
	if err != nil {
		return nil, err
	}
	records, err := s.RecordUses(d)
	if err != nil {
		return nil, err
	}
	var all []cacheEntry
	for _, u := range records {
		e := cacheEntry{key: u.Key, id: u.Key.Encoded(), kind: inventory.Records, size: u.Disk, created: u.Made, used: u.Used, shared: u.Images > 0}
		if r, err := cache.Decode(u.Data); err == nil {
			e.description = human.Clean(r.Instruction)
		}
		all = append(all, e)
	}
	for _, u := range d.Mounts {
		all = append(all, cacheEntry{
			id: u.ID, kind: inventory.CacheMounts, size: u.Disk, created: u.Created, used: u.Used, inUse: u.InUse,
			description: "cached mount " + human.Clean(u.ID),
		})
	}
	return all, nil
}

// row is the entry's columns; a table marks what changes and what is shared with a star, as buildx does.
func (e *cacheEntry) row(table bool) human.Row {
	r := human.Row{
		"ID": human.Clean(e.id), "Reclaimable": strconv.FormatBool(!e.inUse), "Size": human.FullSize(e.size), "LastUsedAt": human.Since(e.used),
		"CreatedAt": e.created.UTC().Format("2006-01-02 15:04:05 -0700 MST"), "Description": e.description, "Type": e.kind,
		"Shared": strconv.FormatBool(e.shared), "Mutable": strconv.FormatBool(e.kind == inventory.CacheMounts), "UsageCount": "1", "Parents": "",
	}
	if table && e.kind == inventory.CacheMounts {
		r["ID"] += "*"
	}
	if table && e.shared {
		r["Size"] += "*"
	}
	return r
}

// dockerRow is the entry's columns as `docker system df -v` calls them.
func (e *cacheEntry) dockerRow(short bool) human.Row {
	id := human.Clean(e.id)
	if short && e.key != "" {
		id = image.ShortID(e.key)
	}
	at := func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.999999999 -0700 MST") }
	return human.Row{
		"ID": id, "Parent": "", "CacheType": e.kind, "Description": e.description, "InUse": strconv.FormatBool(e.inUse), "Shared": strconv.FormatBool(e.shared),
		"Size": human.FullSize(e.size), "CreatedAt": at(e.created), "CreatedSince": human.Since(e.created),
		"LastUsedAt": at(e.used), "LastUsedSince": human.Since(e.used), "UsageCount": "1",
	}
}

func (a *app) printCacheEntries(rows []human.Row) {
	out := a.texts()
	for _, r := range rows {
		fmt.Fprintf(out, "ID:           %s\nCreated at:   %s\nMutable:      %s\nReclaimable:  %s\nShared:       %s\nSize:         %s\n",
			r["ID"], r["CreatedAt"], r["Mutable"], r["Reclaimable"], r["Shared"], r["Size"])
		if r["Description"] != "" {
			fmt.Fprintf(out, "Description:  %s\n", r["Description"])
		}
		fmt.Fprintf(out, "Last used:    %s\nType:         %s\n\n", r["LastUsedAt"], r["Type"])
	}
}
