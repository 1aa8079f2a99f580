package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/builder"
	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/explain"
	"github.com/strata-build/strata/internal/builder/export"
	"github.com/strata-build/strata/internal/builder/solver"
	"github.com/strata-build/strata/internal/builder/subrequest"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/event/progress"
	"github.com/strata-build/strata/internal/event/trace"
	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer"
)

func (a *app) build() *cobra.Command {
	f := &buildFlags{}
	cmd := &cobra.Command{
		Use:     "build [OPTIONS] PATH | URL | -",
		Aliases: []string{"b"},
		Short:   "Build an image from a Dockerfile",
		Args:    args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.lazy.check(cmd.Flags(), args[0]); err != nil {
				return err
			}
			return a.runBuild(cmd.Context(), args[0], f)
		},
	}
	f.register(cmd.Flags())
	return cmd
}

func (a *app) runBuild(ctx context.Context, dir string, f *buildFlags) error {
	f.quiet = f.quiet || f.progress == "quiet"
	r, err := f.request()
	if err != nil {
		return err
	}
	method, err := subrequest.ParseMethod(f.call)
	if err != nil {
		return &exit{exitUsage, err}
	}
	if f.output.metadata != "" {
		record(&r.Output.Attest)
	}
	a.equip(&r.Output.Attest)
	config := a.readDockerConfig()
	config.addProxies(r.Target.Args)
	r.Source.Context, r.Sandbox.Log = dir, stepLog()
	if dir == "-" || r.Source.Dockerfile == "-" {
		r.Source.Stdin = interruptible(ctx, a.stdin)
	}
	if method.Name != subrequest.Build {
		return a.answer(ctx, method, r, f)
	}
	if err := checkPolicy(r.Source, f.legacy.policyDisabled()); err != nil {
		return err
	}
	r.Output.File = func(dest string, write func(io.Writer) error) error { return a.writeTo(ctx, dest, write) }
	warnings := append(epochWarning(r), f.lazy.warnings()...)
	legacy, err := f.legacy.check()
	if err != nil {
		return err
	}
	for _, line := range append(warnings, legacy...) {
		if !f.silent() {
			fmt.Fprintln(a.stderr, "WARNING: "+printable(line))
		}
	}
	if err := f.prepare(&r); err != nil {
		return err
	}
	began := time.Now()
	if _, err := a.open(); err != nil {
		return err
	}
	limit, err := cacheLimit()
	if err != nil {
		return err
	}
	result, err := a.displayBuild(ctx, r, f)
	built := result.Build
	a.writeFindings(result.Findings, r, f)
	if f.explain && built != nil {
		fmt.Fprintln(a.stderr)
		if err := explain.Print(a.stderr, built, ""); err != nil {
			return err
		}
	}
	if built != nil && built.Hits < built.Total {
		defer func() { a.keepLimit(limit, began, f.silent()) }()
	}
	if err != nil {
		return a.buildFailed(r, err)
	}
	if !f.silent() {
		for _, line := range result.Notes {
			fmt.Fprintln(a.stderr, human.Clean(line))
		}
	}
	id, exported := result.ID, result.Exported
	if f.quiet && exported.ID != "" && !export.UsesStdout(r.Output.Specs) {
		fmt.Fprintln(a.stdout, id)
	}
	if f.output.metadata != "" {
		if err := writeMetadata(f.output.metadata, result); err != nil {
			return err
		}
	}
	if f.iidfile != "" {
		if err := writeSmall(f.iidfile, []byte(id)); err != nil {
			return fmt.Errorf("writing the image ID: %w", err)
		}
	}
	return nil
}

// keepLimit removes the least recently used cache data if the cache is larger than the configured
// limit, until it is nine tenths of the limit, so that not every build has to prune. Data that was
// used since the build began is kept. A failure is a warning and does not fail the build.
func (a *app) keepLimit(limit int64, began time.Time, quiet bool) {
	if limit == 0 {
		return
	}
	size, err := a.store.CacheSize(store.PruneOptions{All: true})
	if err != nil || size <= limit {
		return
	}
	gone, err := a.store.Limit(limit-limit/10, store.PruneOptions{All: true, Until: began})
	switch {
	case err != nil:
		fmt.Fprintf(a.stderr, "strata: keeping the cache below its size limit: %s\n", printable(err.Error()))
	case !quiet && len(gone.Layers) > 0:
		fmt.Fprintf(a.stderr, "The cache was above cache-size-limit: removed %s that had not been used for the longest time.\n", human.FullSize(gone.Freed))
	}
}

// silent reports whether no progress is displayed: --quiet, or --progress=quiet or none, as in
// buildx.
func (f *buildFlags) silent() bool { return f.quiet || f.progress == "none" }

// displayBuild builds and shows how it goes.
func (a *app) displayBuild(ctx context.Context, r builder.Request, f *buildFlags) (*builder.Result, error) {
	display, m, err := a.watch(r.Target.Dialect, f)
	if err != nil {
		return &builder.Result{}, err
	}
	leave, err := f.fleet.join(ctx, m, &r, func(line string) { display.Send(event.Warning{Text: line}) })
	if err != nil {
		display.Close(err)
		return &builder.Result{}, err
	}
	defer leave()
	span := a.beginTrace("build")
	recorder := trace.Build(span)
	r.Events = recorder.Sink(a.counted().Sink(display))
	began := time.Now()
	result, err := builder.Run(trace.With(ctx, recorder), m, r)
	a.counted().End(time.Since(began), err)
	recorder.Close()
	span.End(err)
	display.Close(err)
	return result, err
}

// watch opens the store, and the display of what happens, layers on their way among it. The caller closes the display.
func (a *app) watch(engine dialect.Dialect, f *buildFlags) (progress.Display, *transfer.Mover, error) {
	display, err := a.display(engine, f)
	if err != nil {
		return nil, nil, err
	}
	m, err := a.moverFor(a.counted().Sink(display)) // of layers on their way
	if err != nil {
		display.Close(err)
		return nil, nil, err
	}
	m.Parts = f.lazy.parts
	return display, m, nil
}

// display is what shows a build of an engine. As with Docker, that of the graph engine is on standard error.
func (a *app) display(engine dialect.Dialect, f *buildFlags) (progress.Display, error) {
	if engine.Output.StepLines {
		return progress.NewClassic(a.stdout, a.stderr, f.silent()), nil
	}
	mode := f.progress
	if f.silent() {
		mode = "quiet"
	}
	d, err := progress.New(mode, a.stderr)
	if err != nil {
		return nil, &exit{exitUsage, err}
	}
	return d, nil
}

// buildFailed prints the error of a build, the lines of the Dockerfile around it, and the command
// that enters the failed step.
func (a *app) buildFailed(r builder.Request, err error) error {
	var located *dockerfile.Error
	err = a.advise(err)
	if !errors.As(err, &located) {
		return err
	}
	if excerpt := located.Excerpt(); excerpt != "" {
		fmt.Fprintln(a.stderr, printable(strings.TrimRight(excerpt, "\n")))
	}
	var failed *solver.StepError
	if !errors.As(err, &failed) {
		return err
	}
	message := "failed to solve: " + failed.Error()
	if r.Target.Dialect.Output.StepLines && failed.Cause == nil {
		message = fmt.Sprintf("The command '%s' returned a non-zero code: %d", strings.Join(failed.Args, " "), failed.ExitCode)
	}
	fmt.Fprintf(a.stderr, "strata: %s\n", printable(message))
	if advice := failed.Advice(); advice != "" {
		fmt.Fprintln(a.stderr, "strata:", advice)
	}
	if advice := failed.NetworkAdvice(); advice != "" {
		fmt.Fprintln(a.stderr, "strata:", printable(advice))
	}
	if failed.Shortage != "" {
		fmt.Fprintln(a.stderr, "strata:", printable(failed.Shortage))
	}
	switch {
	case failed.State != "" && failed.LacksShell():
		fmt.Fprintf(a.stderr, "To see what the image has: strata show %s:/\n", image.ShortID(failed.State))
	case failed.State != "":
		fmt.Fprintf(a.stderr, "To look around in what the step left: strata run -it %s /bin/sh\n", image.ShortID(failed.State))
	}
	return &exit{code: exitError}
}
