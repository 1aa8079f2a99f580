package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/distribution/reference"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/dockerfile"
	"github.com/strata-build/strata/internal/registry"
	"github.com/strata-build/strata/internal/solver"
	"github.com/strata-build/strata/internal/transfer"
)

// sources opens the caches from elsewhere, at once. One that cannot be had is a warning, not a failed build.
func sources(ctx context.Context, m *transfer.Mover, o Options) []*cache.Source {
	found := make([]*cache.Source, len(o.CacheFrom))
	failed := make([]error, len(o.CacheFrom))
	var wg sync.WaitGroup
	for i, spec := range o.CacheFrom {
		wg.Go(func() {
			done := o.Display.Phase("load cache from " + spec.Ref)
			found[i], failed[i] = source(ctx, m, spec)
			done(nil)
		})
	}
	wg.Wait()
	var all []*cache.Source
	for i, s := range found {
		if failed[i] == nil {
			all = append(all, s)
		} else if ctx.Err() == nil {
			o.Display.Warning(fmt.Sprintf("no cache from %s: %v", o.CacheFrom[i].Ref, failed[i]))
		}
	}
	return all
}

func source(ctx context.Context, m *transfer.Mover, spec CacheSpec) (*cache.Source, error) {
	if spec.Type != "local" {
		return m.Cache(ctx, spec.Ref, spec.Type == "registry")
	}
	s, err := m.DirCache(spec.Ref)
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.New("there is no cache in this directory yet")
	}
	return s, err
}

// exportCaches writes the caches that --cache-to asks for. The image is there already: it stays whatever happens here.
func exportCaches(ctx context.Context, m *transfer.Mover, sv *solver.Solver, plan *dockerfile.Plan, o Options) error {
	for _, spec := range o.CacheTo {
		if spec.Type != "registry" && spec.Type != "local" {
			continue
		}
		done := o.Display.Phase("export cache to " + spec.Ref)
		err := exportCache(ctx, m, spec, sv.Steps(plan, spec.max()))
		if err != nil && ctx.Err() == nil {
			err = fmt.Errorf("exporting the cache to %s: %w", spec.Ref, err)
		}
		if err != nil && ctx.Err() == nil && spec.ignoreError() {
			o.Display.Warning(err.Error())
			err = nil
		}
		done(err)
		if err != nil {
			return err
		}
	}
	return nil
}

func exportCache(ctx context.Context, m *transfer.Mover, spec CacheSpec, steps []cache.Step) error {
	if spec.Type == "local" {
		return m.SaveCache(ctx, spec.Ref, steps)
	}
	ref, err := registry.ParseName(spec.Ref)
	if err != nil {
		return err
	}
	return m.PushCache(ctx, reference.TagNameOnly(ref), steps)
}
