package mounts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store/disk"
)

// WriteTar writes the contents as a tar, without devices, pipes and sockets.
func (r *Reading) WriteTar(ctx context.Context, w io.Writer) error {
	toc, err := layer.Diff(ctx, r.Dir, nil)
	if err == nil {
		toc, err = toc.Ordinary()
	}
	if err != nil {
		return err
	}
	return layer.WriteTar(ctx, w, toc, layer.TreeSource(r.Dir, toc).Open)
}

// Import gives a cache mount the contents of a tar, compressed or not, in the place of what it has. It is theirs for who begins
// to use it from then on; an instance that is in use goes after that. A tar that is damaged, over the limits, or has a device in
// it changes nothing.
func (ms *Mounts) Import(ctx context.Context, o Options, r io.Reader, limits layer.Limits) error {
	z, err := layer.Decompress(r, limits)
	if err != nil {
		return err
	}
	defer z.Close()
	o.Sharing, o.Fresh, o.Restore = Private, false, nil
	o.Fill = func(dir string) error {
		toc, err := layer.Unpack(ctx, z, dir, layer.UnpackOptions{Limits: limits})
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(toc.Entries, func(e *layer.Entry) bool { return !e.Ordinary() }); i >= 0 {
			return fmt.Errorf("%q is a device or a pipe, which a cache mount from a tar cannot have", toc.Entries[i].Path)
		}
		return nil
	}
	dir := filepath.Join(ms.dir, o.name())
	before, err := instances(dir)
	if err != nil {
		return err
	}
	m, err := ms.create(ctx, dir, before, &o)
	if err != nil {
		return err
	}
	if m == nil {
		return fmt.Errorf("another build has made the cache mount %s meanwhile; try again", o.ID)
	}
	var errs []error
	for _, n := range before {
		if instance := filepath.Join(dir, strconv.Itoa(n)); disk.Exists(instance) {
			_, err := ms.retire(instance)
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, m.Release())...)
}
