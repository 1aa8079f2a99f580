package gc

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store/disk"
	"github.com/strata-build/strata/internal/store/images"
	"github.com/strata-build/strata/internal/store/mounts"
	"github.com/strata-build/strata/internal/store/plans"
	"github.com/strata-build/strata/internal/store/records"
)

// Usage is what one part of the store takes.
type Usage struct {
	// Count is how many things there are, Active how many of them something else needs: images with a name,
	// cache records whose layer an image has, cache mounts that are in use.
	Count, Active int
	// Size is what they take on this disk in bytes, Reclaimable what of it a prune of this part would free.
	Size, Reclaimable int64
}

// LayerUse is a layer on this disk.
type LayerUse struct {
	DiffID digest.Digest
	Disk   int64 // bytes on this disk, compressed blobs included
	// Images is how many images have it; 0 for one that only the cache keeps.
	Images int
	Added  time.Time
	Used   time.Time
}

// RecordUse is a cache record, and what it keeps on the disk.
type RecordUse struct {
	records.Record
	Used time.Time
	Disk int64 // bytes of the layer on this disk, 0 without a layer
	// Images and Records are how many images and other records have the layer too.
	Images, Records int
}

// RecordUses lists the cache, those used last first. Layers are measured as d, which Disk gave, has them.
func (c *Collector) RecordUses(d *Disk) ([]RecordUse, error) {
	layers := map[digest.Digest]*LayerUse{}
	for i := range d.Layers {
		layers[d.Layers[i].DiffID] = &d.Layers[i]
	}
	uses, err := plans.New(c.db).Uses()
	if err != nil {
		return nil, err
	}
	rows, err := c.db.Query("SELECT key, layer, data, made, used FROM records")
	if err != nil {
		return nil, fmt.Errorf("listing the cache: %w", err)
	}
	defer rows.Close()
	var all []RecordUse
	sharers := map[digest.Digest]int{}
	for rows.Next() {
		var r RecordUse
		var made, used int64
		if err := rows.Scan(&r.Key, &r.Layer, &r.Data, &made, &used); err != nil {
			return nil, fmt.Errorf("listing the cache: %w", err)
		}
		r.Made, r.Used = time.UnixMilli(made), time.UnixMilli(max(used, uses[r.Key]))
		if l := layers[r.Layer]; l != nil {
			r.Disk, r.Images = l.Disk, l.Images
		}
		sharers[r.Layer]++
		all = append(all, r)
	}
	slices.SortStableFunc(all, func(a, b RecordUse) int { return cmp.Or(b.Used.Compare(a.Used), b.Made.Compare(a.Made)) })
	for i := range all {
		if all[i].Layer != "" {
			all[i].Records = sharers[all[i].Layer] - 1
		}
	}
	return all, rows.Err()
}

// Disk is what the store takes.
type Disk struct {
	Images, Cache Usage
	Layers        []LayerUse
	Mounts        []mounts.Use // counted in Cache
	Other         int64        // bytes of meta.db and of work under way
}

// Disk measures the store by looking at every file, about 0.1 s for 20,000 of them.
func (c *Collector) Disk() (*Disk, error) {
	d := &Disk{}
	sharers, named, err := c.sharers(d)
	if err != nil {
		return nil, fmt.Errorf("measuring the images: %w", err)
	}
	if err := c.measureLayers(d, sharers, named); err != nil {
		return nil, fmt.Errorf("measuring the layers: %w", err)
	}
	records, err := c.db.Query("SELECT layer FROM records")
	if err != nil {
		return nil, fmt.Errorf("measuring the cache: %w", err)
	}
	defer records.Close()
	for records.Next() {
		var l digest.Digest
		if err := records.Scan(&l); err != nil {
			return nil, fmt.Errorf("measuring the cache: %w", err)
		}
		d.Cache.Count++
		if sharers[l] > 0 {
			d.Cache.Active++
		}
	}
	for _, dir := range c.kept.Folders() {
		kept, err := disk.ContentsUsage(dir)
		if err != nil {
			return nil, fmt.Errorf("measuring the cache: %w", err)
		}
		d.Cache.Size += kept
	}
	if d.Mounts, err = c.mounts.CacheMounts(); err != nil {
		return nil, err
	}
	d.Cache.Reclaimable = d.Cache.Size
	for _, u := range d.Mounts {
		d.Cache.Count++
		d.Cache.Size += u.Disk
		if u.InUse {
			d.Cache.Active++
		} else {
			d.Cache.Reclaimable += u.Disk
		}
	}
	tmp, err := disk.ContentsUsage(filepath.Join(c.root, "tmp"))
	d.Other = c.db.Size() + tmp
	return d, errors.Join(err, records.Err())
}

// sharers counts for each layer how many images have it or need it, and tells which layers named images have.
func (c *Collector) sharers(d *Disk) (count map[digest.Digest]int, named map[digest.Digest]bool, err error) {
	all, err := c.images.Configs(images.Image)
	if err != nil {
		return nil, nil, err
	}
	names, err := c.images.Names("")
	if err != nil {
		return nil, nil, err
	}
	hasName := map[digest.Digest]bool{}
	for _, n := range names {
		hasName[n.ID] = true
	}
	count, named = map[digest.Digest]int{}, map[digest.Digest]bool{}
	for _, config := range all {
		d.Images.Count++
		if hasName[config.ID] {
			d.Images.Active++
		}
		chain, err := image.DiffIDs(config.Data)
		if err != nil {
			return nil, nil, err
		}
		slices.Sort(chain)
		for _, l := range slices.Compact(chain) {
			count[l]++
			named[l] = named[l] || hasName[config.ID]
		}
	}
	deltas, err := c.deltas()
	for _, d := range deltas { // an image that has one needs its base
		count[d.base] = max(count[d.base], count[d.layer])
		named[d.base] = named[d.base] || named[d.layer]
	}
	return count, named, err
}

func (c *Collector) measureLayers(d *Disk, sharers map[digest.Digest]int, named map[digest.Digest]bool) error {
	rows, err := c.db.Query("SELECT diff_id, added, used FROM layers ORDER BY added")
	if err != nil {
		return err
	}
	for rows.Next() {
		var l LayerUse
		var added, used int64
		if err := rows.Scan(&l.DiffID, &added, &used); err != nil {
			rows.Close()
			return err
		}
		l.Added, l.Used, l.Images = time.UnixMilli(added), time.UnixMilli(used), sharers[l.DiffID]
		d.Layers = append(d.Layers, l)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	claimed := int64(0)
	for i := range d.Layers {
		l := &d.Layers[i]
		if l.Disk, err = c.layerDisk(l.DiffID); err != nil {
			return err
		}
		claimed += l.Disk
		switch {
		case l.Images == 0:
			d.Cache.Size += l.Disk
		case named[l.DiffID]:
			d.Images.Size += l.Disk
		default:
			d.Images.Size += l.Disk
			d.Images.Reclaimable += l.Disk
		}
	}
	// What no row leads to: layers of killed processes and partial downloads.
	folder, _ := c.layers.Folders()
	layers, err := disk.ContentsUsage(folder)
	if err != nil {
		return err
	}
	blobs, err := disk.ContentsUsage(c.content.Folder())
	if err != nil {
		return err
	}
	d.Cache.Size += max(layers+blobs-claimed, 0)
	parts, err := disk.ContentsUsage(c.layers.LazyFolder())
	d.Cache.Size += parts
	return err
}

// layerDisk is what a layer's forms take: tree, tar, compressed blobs.
func (c *Collector) layerDisk(diffID digest.Digest) (int64, error) {
	total, err := disk.Usage(c.layers.Path(diffID))
	if err != nil {
		return 0, err
	}
	blobs, err := c.content.Blobs(diffID)
	if err != nil {
		return 0, err
	}
	counted := map[digest.Digest]bool{}
	for _, b := range blobs {
		if counted[b.Digest] {
			continue
		}
		counted[b.Digest] = true
		size, err := disk.Usage(c.content.BlobPath(b.Digest))
		if err != nil {
			return 0, err
		}
		total += size
	}
	return total, nil
}

// Counts returns how many images, steps, layers and cache records the store has.
func (c *Collector) Counts() (images, steps, layers, records int, err error) {
	err = c.db.QueryRow(`SELECT (SELECT count(*) FROM configs WHERE kind = 'image'), (SELECT count(*) FROM configs WHERE kind = 'step'),
		(SELECT count(*) FROM layers), (SELECT count(*) FROM records)`).Scan(&images, &steps, &layers, &records)
	if err != nil {
		return 0, 0, 0, 0, fmt.Errorf("counting what the store has: %w", err)
	}
	return images, steps, layers, records, nil
}
