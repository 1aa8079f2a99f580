package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/look/inventory"
	"github.com/strata-build/strata/internal/store"
)

// useInFull is what `system df -v` lists, under the names that docker's templates have for it.
type useInFull struct {
	Images, Containers, Volumes, BuildCache []human.Row
}

func (a *app) runDiskUseInFull(s *store.Store, d *store.Disk, format string) error {
	table := format == "" || format == "table"
	u, err := a.useInFull(s, d, table)
	if err != nil {
		return err
	}
	switch {
	case table:
		return a.printUseInFull(s, d, u)
	case format == "raw":
		return a.printUseRaw(u)
	}
	return human.TemplateOfRows(a.texts(), strings.TrimPrefix(format, "table "), u)
}

// useInFull lists images, containers, volumes and the build cache; IDs and commands are shortened for a table alone.
func (a *app) useInFull(s *store.Store, d *store.Disk, short bool) (u useInFull, err error) {
	containers, err := s.Containers()
	if err != nil {
		return u, err
	}
	of := map[digest.Digest]int{} // images, by how many containers
	for _, c := range containers {
		of[c.Image]++
		details, err := a.describeContainer(&c)
		if err != nil {
			return u, err
		}
		u.Containers = append(u.Containers, containerRow(details, !short))
	}
	if u.Images, err = imagesInFull(s, d, of, short); err != nil {
		return u, err
	}
	volumes, err := s.Volumes()
	if err != nil {
		return u, err
	}
	for _, v := range volumes {
		row := volumeRow(v)
		row["Links"] = "0"
		if v.InUse {
			row["Links"] = "1"
		}
		u.Volumes = append(u.Volumes, row)
	}
	entries, err := cacheEntries(s)
	if err != nil {
		return u, err
	}
	for _, e := range entries {
		u.BuildCache = append(u.BuildCache, e.dockerRow(short))
	}
	return u, nil
}

func imagesInFull(s *store.Store, d *store.Disk, containers map[digest.Digest]int, short bool) ([]human.Row, error) {
	images, err := inventory.List(s, false, nil)
	if err != nil {
		return nil, err
	}
	sharers := map[digest.Digest]int{}
	for _, l := range d.Layers {
		sharers[l.DiffID] = l.Images
	}
	f := &imagesFlags{noTrunc: !short}
	var rows []human.Row
	for _, img := range images {
		unique, err := inventory.UniqueSize(s, img, sharers)
		if err != nil {
			return nil, err
		}
		row := f.rows(img)[0]
		row["UniqueSize"], row["SharedSize"] = human.FullSize(unique), "?"
		if unique >= 0 && img.Size >= 0 {
			row["SharedSize"] = human.FullSize(img.Size - unique)
		}
		row["Containers"] = strconv.Itoa(containers[img.ID])
		rows = append(rows, row)
	}
	return rows, nil
}

func (a *app) printUseInFull(s *store.Store, d *store.Disk, u useInFull) error {
	fmt.Fprint(a.stdout, "Images space usage:\n\n")
	if err := a.list(imageListing("Repository", "Tag", "ID", "CreatedSince", "VirtualSize", "SharedSize", "UniqueSize", "Containers"), "", u.Images); err != nil {
		return err
	}
	l := containerListing()
	l.Default = []string{"ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names"}
	fmt.Fprint(a.stdout, "\nContainers space usage:\n\n")
	if err := a.list(l, "", u.Containers); err != nil {
		return err
	}
	l = volumeListing()
	l.Default = []string{"Name", "Links", "Size"}
	fmt.Fprint(a.stdout, "\nLocal Volumes space usage:\n\n")
	if err := a.list(l, "", u.Volumes); err != nil {
		return err
	}
	fmt.Fprint(a.stdout, "\nLayers on this disk:\n\n")
	if err := a.list(layerListing(), "", layerRows(d.Layers)); err != nil {
		return err
	}
	if len(d.Mounts) > 0 {
		fmt.Fprint(a.stdout, "\nCache mounts:\n\n")
		if err := a.list(mountListing(), "", mountRows(d.Mounts)); err != nil {
			return err
		}
	}
	records, shared := d.Cache.Count-len(d.Mounts), d.Cache.Active
	for _, u := range d.Mounts {
		if u.InUse {
			shared--
		}
	}
	fmt.Fprintf(a.stdout, "\nBuild cache usage: %s in %d records, %d of them with a layer of an image\n", human.FullSize(d.Cache.Size), records, shared)
	if records > 0 {
		fmt.Fprintln(a.stdout)
		if err := a.printRecords(s, d); err != nil {
			return err
		}
		fmt.Fprintln(a.stdout)
	}
	fmt.Fprintf(a.stdout, "Database and work under way: %s\n", human.FullSize(d.Other))
	return nil
}

// printUseRaw prints all as docker's format "raw" does: a kind, and a line for each field.
func (a *app) printUseRaw(u useInFull) error {
	for _, part := range []struct {
		kind string
		of   human.Listing
		rows []human.Row
	}{
		{"Image", imageListing(), u.Images}, {"Container", containerListing(), u.Containers}, {"Volume", volumeListing(), u.Volumes},
		{"Build Cache", human.Listing{Raw: []string{
			"cache_id ID", "parent Parent", "cache_type CacheType", "description Description", "created_at CreatedAt", "created_since CreatedSince",
			"last_used_at LastUsedAt", "last_used_since LastUsedSince", "usage_count UsageCount", "size Size", "in_use InUse", "shared Shared",
		}}, u.BuildCache},
	} {
		for _, row := range part.rows {
			fmt.Fprintf(a.stdout, "type: %s\n", part.kind)
			if err := a.list(part.of, "raw", []human.Row{row}); err != nil {
				return err
			}
		}
	}
	return nil
}
