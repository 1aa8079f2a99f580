package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/cache/packed"
	"github.com/strata-build/strata/internal/event/metrics"
	"github.com/strata-build/strata/internal/fleet"
	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/store"
)

// workerFlags are those of strata worker.
type workerFlags struct {
	queue       queueFlags
	cache, name string
	metrics     string
	mounts      string
	slots       int
	platforms   []string
}

func (a *app) worker() *cobra.Command {
	f := &workerFlags{}
	cmd := &cobra.Command{
		Use:   "worker [OPTIONS]",
		Short: "Run steps of builds on other machines",
		Long: "Take steps of builds out of a queue, which strata build --queue puts them into, and run them here. Layers go through a cache that\n" +
			"all of them reach. Ended, the worker finishes the steps that run.",
		Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runWorker(cmd.Context(), f) },
	}
	fl := cmd.Flags()
	f.queue.register(fl, "where steps come from")
	fl.StringVar(&f.cache, "cache", "", "where layers come from and go to, a `PLACE` as for --cache-to: type=s3,bucket=BUCKET or type=registry,ref=NAME")
	fl.StringVar(&f.name, "name", "", "`NAME` of the worker (default the machine's)")
	fl.IntVar(&f.slots, "slots", runtime.NumCPU(), "how many steps run at once, a `NUMBER`")
	fl.Var((*listFlag)(&f.platforms), "platform", "run steps for this `PLATFORM` (default the machine's)")
	fl.StringVar(&f.mounts, "mounts", "all", "which contents of RUN --mount=type=cache workers share by the cache, `MOUNTS`: all or none")
	fl.StringVar(&f.metrics, "metrics", "", "serve metrics at `HOST:PORT`, in /metrics, and whether the worker is ready, in /readyz")
	return cmd
}

func (f *workerFlags) check() error {
	if err := f.queue.fill(); err != nil {
		return err
	}
	switch {
	case f.queue.url == "":
		return usageError("--queue: name the NATS servers, as nats://HOST:4222")
	case f.cache == "":
		return usageError("--cache: name a place that builds and workers reach, as type=s3,bucket=BUCKET or type=registry,ref=NAME")
	case f.mounts != "all" && f.mounts != "none":
		return usageError("--mounts %s: it is all or none", f.mounts)
	case f.slots < 1:
		return usageError("--slots %d: it is 1 or more", f.slots)
	}
	return nil
}

func (a *app) runWorker(ctx context.Context, f *workerFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	targets, err := parsePlatforms(f.platforms)
	if err != nil {
		return err
	}
	if len(targets) == 0 {
		targets = []ocispec.Platform{platform.Local()}
	}
	m, err := a.mover()
	if err != nil {
		return err
	}
	if err := m.Store.Begin(); err != nil {
		return err
	}
	public, depot, err := openDepot(m, f.cache)
	if err != nil {
		return usageError("--cache: %w", err)
	}
	identity, err := fleet.OpenIdentity(filepath.Join(store.DefaultRoot(), "worker.key"))
	if err != nil {
		return err
	}
	name := f.name
	if name == "" {
		if name, err = os.Hostname(); err != nil {
			return fmt.Errorf("the worker needs a --name: %w", err)
		}
	}
	limit, err := cacheLimit()
	if err != nil {
		return err
	}
	q, err := f.queue.connect(ctx, "strata worker "+name)
	if err != nil {
		return err
	}
	defer q.Close()
	set := metrics.New()
	a.openTrace()
	var mounts packed.Keeper
	if keeper, ok := depot.(packed.Keeper); ok && f.mounts == "all" {
		mounts = keeper
	}
	w, err := fleet.NewWorker(q, m, depot, identity, fleet.WorkerOptions{
		Name: name, Slots: f.slots, Platforms: targets, Cache: public, Version: a.version, Metrics: set, Tracer: a.tracer,
		Log:    slog.New(slog.NewTextHandler(a.stderr, nil)),
		Mounts: mounts,
		Idle:   func() { a.keepLimit(limit, time.Now().Add(-time.Hour), true) },
	})
	if err != nil {
		return err
	}
	if f.metrics != "" {
		at, err := metrics.Serve(ctx, f.metrics, set, q.Ready)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.stderr, "metrics at http://%s/metrics\n", at)
	}
	var shown []string
	for _, p := range targets {
		shown = append(shown, platform.Format(p))
	}
	if err := w.Join(ctx); err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "worker %s takes steps for %s from %s, %d at once\n", w.Name, strings.Join(shown, ", "), fleet.Hidden(f.queue.url), f.slots)
	fmt.Fprintf(a.stderr, "its key, for --queue-trust, is %s\n", w.Public())
	if err := w.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
