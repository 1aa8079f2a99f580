package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/look/inventory"
	"github.com/strata-build/strata/internal/store"
)

// cachePrune is the flags of `strata builder prune`, those of docker and of buildx.
type cachePrune struct {
	all, force, verbose, json bool
	filters                   []string
	keep                      map[string]*string // the flags that say how much may stay, by name
}

// The flags that say how much of the cache a prune leaves, as BuildKit reckons (cache/manager.go, calculateKeepBytes).
const (
	reservedSpace = "reserved-space" // never less than this
	keepStorage   = "keep-storage"   // its name before
	maxUsedSpace  = "max-used-space" // no more than this
	minFreeSpace  = "min-free-space" // and no more than leaves this free on the disk
)

func (a *app) builderPrune() *cobra.Command {
	f := &cachePrune{keep: map[string]*string{}}
	cmd := &cobra.Command{
		Use:   "prune [OPTIONS]",
		Short: "Remove the build cache that no image has",
		Args:  args(0, 0),
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.runBuilderPrune(cmd.Context(), f) },
	}
	fl := cmd.Flags()
	fl.BoolVarP(&f.all, "all", "a", false, "remove used data too, not only unused data")
	fl.BoolVarP(&f.force, "force", "f", false, "do not ask")
	jsonFlag(fl, &f.json, "print what was removed as JSON; needs --force")
	fl.BoolVar(&f.verbose, "verbose", false, "list what is removed")
	fl.Var((*listFlag)(&f.filters), "filter", "remove "+cacheFilterHelp)
	for _, size := range []struct{ name, help string }{
		{reservedSpace, "remove what was used least recently, and always leave `SIZE` (10GB) of the cache"},
		{keepStorage, "as --reserved-space, `SIZE` under its name before"},
		{maxUsedSpace, "remove what was used least recently until the cache is no larger than `SIZE`"},
		{minFreeSpace, "remove what was used least recently until `SIZE` is free on the disk"},
	} {
		f.keep[size.name] = fl.String(size.name, "", size.help)
	}
	return cmd
}

func (a *app) runBuilderPrune(ctx context.Context, f *cachePrune) error {
	if f.json && !f.force {
		return usageError("prune --json asks nothing: it goes with --force")
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	filter, err := parseCacheFilter(s, f.filters)
	if err != nil {
		return err
	}
	limits, err := f.limits()
	if err != nil {
		return err
	}
	if len(limits) > 0 && len(filter.tests) > 0 {
		return usageError("a size that is to stay goes with --filter until= and type= only")
	}
	if !f.force {
		yes, err := a.confirm(ctx, f.question(limits)+"Are you sure you want to continue? [y/N] ")
		if err != nil || !yes {
			return err
		}
	}
	o := store.PruneOptions{
		Records: true, All: f.all, Until: filter.until(),
		Mounts: filter.simple.Type == inventory.CacheMounts, NoMounts: filter.simple.Type == inventory.Records,
	}
	if o.Only, err = filter.only(s); err != nil {
		return err
	}
	var before []cacheEntry
	if f.verbose {
		if before, err = cacheEntries(s); err != nil {
			return err
		}
	}
	gone, err := pruneTo(s, limits, o)
	if err != nil {
		return err
	}
	if f.json {
		return a.printDocument(newPrunedDocument(gone))
	}
	if f.verbose {
		if err := a.printRemoved(s, before); err != nil {
			return err
		}
	}
	a.printPruned(gone, false)
	return nil
}

// limits are the sizes that are given, in bytes.
func (f *cachePrune) limits() (map[string]int64, error) {
	given := map[string]int64{}
	for name, text := range f.keep {
		if *text == "" {
			continue
		}
		size, err := parseSize(*text)
		if err != nil {
			return nil, usageError("--%s %s: %w", name, *text, err)
		}
		if name == keepStorage {
			name = reservedSpace
		}
		given[name] = max(given[name], size)
	}
	return given, nil
}

// pruneTo prunes the cache, down to what limits say.
func pruneTo(s *store.Store, limits map[string]int64, o store.PruneOptions) (*store.Pruned, error) {
	if len(limits) == 0 {
		return s.Prune(o)
	}
	total, err := s.CacheSize(o)
	if err != nil {
		return nil, err
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(s.Root(), &disk); err != nil {
		return nil, fmt.Errorf("measuring the store's disk: %w", err)
	}
	free := int64(disk.Bavail) * disk.Bsize
	keep, capped := limits[maxUsedSpace]
	if least, ok := limits[minFreeSpace]; ok {
		stays := total - max(least-free, 0)
		if !capped || stays < keep {
			keep = stays
		}
	}
	return s.Limit(max(keep, limits[reservedSpace], 0), o)
}

// question says what is removed, before confirm asks.
func (f *cachePrune) question(limits map[string]int64) string {
	keep, ok := limits[reservedSpace]
	switch {
	case ok && len(limits) == 1:
		return fmt.Sprintf("WARNING! This will remove the build cache that was used least recently, until it takes no more than %s. ", human.FullSize(keep))
	case len(limits) > 0:
		return "WARNING! This will remove the build cache that was used least recently, as far as the sizes say. "
	case f.all:
		return "WARNING! This will remove all build cache. "
	}
	return "WARNING! This will remove all build cache that no image has, and all cache mounts. "
}

// printRemoved lists the entries that are no longer there.
func (a *app) printRemoved(s *store.Store, before []cacheEntry) error {
	left, err := cacheEntries(s)
	if err != nil {
		return err
	}
	stays := map[string]bool{}
	for _, e := range left {
		stays[e.kind+" "+e.id] = true
	}
	var rows []human.Row
	for _, e := range before {
		if !stays[e.kind+" "+e.id] {
			rows = append(rows, e.row(false))
		}
	}
	a.printCacheEntries(rows)
	return nil
}
