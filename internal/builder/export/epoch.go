package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store"
)

// What makes a build reproducible, as BuildKit does it (docs/build-repro.md of moby/buildkit): no
// time of what the build made is after SOURCE_DATE_EPOCH, neither in the config nor, unless
// rewrite-timestamp=false says so, in the layers. What the base image has keeps its times.

// dated is an image whose times end at epoch.
func (x *exporter) dated(ctx context.Context, img *Image, epoch time.Time, rewrite bool) (*image.Config, error) {
	var err error
	c := image.Clone(img.Config)
	for i := img.baseRows(); i < len(c.History); i++ {
		c.History[i].Created = earlier(c.History[i].Created, epoch)
	}
	c.Created = earlier(c.Created, epoch)
	c.Stages = nil // layers of stages keep their times, so another machine has others
	if rewrite {
		if err := x.rewriteLayers(ctx, c, img.baseLayers(), epoch); err != nil {
			return nil, err
		}
	}
	for i, row := range c.Cached {
		if row.Row < img.baseRows() {
			continue
		}
		// How long a step took differs each time, and so does the chain of layers as it was before they were rewritten.
		c.Cached[i].MS = 0
		if rewrite {
			if c.Cached[i], err = redate(img.Steps, c.Cached[i], c, epoch); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

func earlier(t *time.Time, epoch time.Time) *time.Time {
	if t == nil || t.After(epoch) {
		return &epoch
	}
	return t
}

// rewriteLayers puts layers into the place of those that were built, in which no time is after epoch.
func (x *exporter) rewriteLayers(ctx context.Context, c *image.Config, base int, epoch time.Time) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2) // each reads and hashes on several cores
	for i := base; i < len(c.RootFS.DiffIDs); i++ {
		g.Go(func() (err error) {
			c.RootFS.DiffIDs[i], err = x.rewriteLayer(ctx, c.RootFS.DiffIDs[i], epoch)
			return err
		})
	}
	return g.Wait()
}

// rewriteLayer gives the layer that has the same files with no time after epoch, itself where it has none.
func (x *exporter) rewriteLayer(ctx context.Context, diffID digest.Digest, epoch time.Time) (digest.Digest, error) {
	l, err := x.Store.Layer(diffID)
	if err != nil {
		return "", err
	}
	how := fmt.Sprintf("times up to %d", epoch.Unix())
	made, err := x.Store.Derived(diffID, how)
	if err == nil && made.Digest != diffID {
		if _, err = x.Store.Layer(made.Digest); err == nil {
			return made.Digest, nil
		}
	}
	if err == nil {
		return diffID, nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		return "", err
	}
	t, err := l.TOC(ctx)
	if err != nil {
		return "", err
	}
	rewritten := diffID
	late := func(e *layer.Entry) bool { return e.ModTime > epoch.Unix() }
	if slices.ContainsFunc(t.Entries, late) {
		if rewritten, err = x.writeDated(ctx, l, t, epoch); err != nil {
			return "", fmt.Errorf("rewriting the times of layer %s: %w", diffID, x.Store.Explain(err))
		}
	}
	return rewritten, x.Store.PutDerived(diffID, how, store.Derived{Digest: rewritten})
}

func (x *exporter) writeDated(ctx context.Context, l *store.Layer, t *layer.TOC, epoch time.Time) (digest.Digest, error) {
	next, err := t.Dated(epoch.Unix())
	if err != nil {
		return "", err
	}
	dir, err := x.Store.Temp("dated")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	f, err := os.OpenFile(filepath.Join(dir, "tar"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	source := l.Source()
	open := func(ctx context.Context, e *layer.Entry) (io.ReadCloser, error) {
		return source.Open(ctx, t.Lookup(e.Path))
	}
	made, err := layer.WriteTarFile(ctx, f, next, open)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	_, err = x.Store.AddLayer(made.DiffID, made.TOC, dir)
	return made.DiffID, err
}

// redate makes the keys of a cached row for the rewritten layers, and what it read with their times: who takes the row's
// layer from the image goes on from that one, and not from the one that was built.
func redate(steps []cache.Step, row image.CachedRow, c *image.Config, epoch time.Time) (image.CachedRow, error) {
	for _, s := range steps {
		if s.Key != row.Key {
			continue
		}
		layers := 0
		for _, h := range c.History[:row.Row] {
			if !h.EmptyLayer {
				layers++
			}
		}
		chain := c.RootFS.DiffIDs[:layers]
		row.Key = cache.Rebase(s, chain)
		if row.Weak == "" {
			return row, nil
		}
		if s.Observed == nil {
			row.Weak, row.Inputs = "", nil // it came of a cache, and is not observed here
			return row, nil
		}
		var err error
		row.Weak, row.Inputs, err = s.Observed.Redate(row.Inputs, chain, epoch.Unix())
		return row, err
	}
	return row, nil
}
