// Package builder makes an image from a Dockerfile and a context: it reads both, has the stages solved, names
// the result, and tells a sink what happens.
package builder

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/explain"
	"github.com/strata-build/strata/internal/builder/export"
	"github.com/strata-build/strata/internal/builder/solver"
	"github.com/strata-build/strata/internal/builder/source/remote"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer"
)

// build is a build under way.
type build struct {
	*Request
	mover   *transfer.Mover
	store   *store.Store
	fetcher *remote.Fetcher
	events  event.Sink
	input   *input
	file    *dockerfile.File // the Dockerfile, parsed once
	values  values
	epoch   *time.Time // SOURCE_DATE_EPOCH, nil if it is not set
	bases   *bases
	journal *explain.Journal
	// mountCaches are the cache mounts as they travel.
	mountCaches *mountCaches
	// destinations are the places that its cache goes to.
	destinations []*destination
	pushing      *pushing // nil where no layer is pushed while the build goes on
}

// values are those of a build's arguments: the request's, but for a SOURCE_DATE_EPOCH that is a word.
type values struct {
	args map[string]string // --build-arg
	// globals are values of ARGs before the first FROM, instead of those that the Dockerfile gives them.
	globals map[string]string
}

// Run builds. The error of a step is, or wraps, a *dockerfile.Error; then nothing was tagged, and all steps before it
// are in the cache. The result is there also where the build failed, with what is known by then.
func Run(ctx context.Context, m *transfer.Mover, r Request) (*Result, error) {
	result := &Result{}
	b, err := open(ctx, m, &r)
	if err != nil {
		return result, err
	}
	defer b.close()
	result.Findings = Findings{Name: b.input.name, Source: b.input.source, reading: b.input.reading}
	b.file, err = dockerfile.Parse(b.input.source, b.input.name)
	if b.file != nil {
		result.Findings.Found = b.file.Warnings()
	}
	if err != nil {
		return result, err
	}
	if b.values, err = b.resolveEpoch(ctx); err != nil {
		return result, err
	}
	parts, err := b.plans()
	result.Findings.Found = findings(parts)
	if err != nil {
		return result, err
	}
	if b.epoch, err = b.findEpoch(parts); err != nil {
		return result, err
	}
	record := b.record()
	if err := b.hold(record); err != nil {
		return result, err
	}
	j := explain.NewJournal(ctx, b.store, record, b.logMask(), b.events)
	b.events, b.journal = j, j
	remembered, err := b.solve(ctx, parts, result)
	if err != nil && ctx.Err() == nil && b.Target.Dialect.File.Lint {
		lookOn(ctx, parts)
	}
	result.Build, result.Notes = j.Close(remembered, withoutPlace(err))
	result.Findings.Found = findings(parts)
	return result, err
}

// hold has the build read at once what the last one like it used, and keeps that from a prune beside it.
func (b *build) hold(r *explain.Build) error {
	if b.Cache.NoCache {
		return nil
	}
	// Not build arguments, of which one may be another each time.
	name := []string{r.Context, r.Dockerfile, r.Target, r.Engine, platform.FormatAll(b.Target.Platforms)}
	held, err := b.store.WithPlan(strings.Join(name, "\n"))
	if err != nil {
		return err
	}
	b.mover = b.mover.WithStore(held)
	b.store = b.mover.Store
	return nil
}

// lookOn looks at what a build that failed did not come to, for the plans to have all findings. Its errors are the
// build's.
func lookOn(ctx context.Context, parts []*part) {
	for _, p := range parts {
		if p.solver != nil {
			_, _ = p.solver.Look(ctx, p.plan)
		}
	}
}

// open begins a build by reading what it is of. The caller closes it.
func open(ctx context.Context, m *transfer.Mover, r *Request) (*build, error) {
	if err := m.Store.Begin(); err != nil {
		return nil, err
	}
	b := &build{Request: r, mover: m, store: m.Store, events: event.OrDiscard(r.Events), values: values{args: r.Target.Args}}
	b.mountCaches = &mountCaches{build: b}
	b.fetcher = b.newFetcher()
	err := b.read(ctx)
	if err == nil {
		b.input.named, err = b.newNamedContexts()
	}
	if err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *build) close() {
	for _, d := range b.destinations {
		d.early.stop()
	}
	if b.input != nil {
		b.input.close()
	}
	b.fetcher.Close()
}

// solve makes the images of all parts, and what is asked for of them, into the result. It gives the ID of the image
// that the build is remembered by: the result's unless there are several.
func (b *build) solve(ctx context.Context, parts []*part, result *Result) (remembered digest.Digest, err error) {
	for _, p := range parts {
		b.events.Send(solver.Planned(p.plan))
	}
	defer func() { b.pushing.stop() }() // before the journal ends
	images, err := b.solveAll(ctx, parts)
	if err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", err
	}
	for _, img := range images {
		result.Images = append(result.Images, Image{img.Platform, img.ID})
	}
	if err := b.attest(ctx, parts, images); err != nil {
		return "", err
	}
	if result.Provenance, err = b.metadata(ctx, parts); err != nil {
		return "", err
	}
	exported, err := b.export(ctx, images)
	if err != nil {
		return "", err
	}
	id := exported.ID
	if id == "" || id == images[0].ID {
		id = resultOf(images, b.Target.Platform) // of files, the step that they are of
	}
	b.events.Send(built(id, exported.Names))
	if remembered = id; len(images) > 1 {
		remembered = resultOf(images, b.Target.Platform)
	}
	if err := b.exportCaches(ctx, parts); err != nil {
		return "", err
	}
	result.ID, result.Exported = id, exported
	return remembered, nil
}

func built(id digest.Digest, refs []reference.Named) event.Built {
	var names []string
	for _, ref := range refs {
		names = append(names, reference.FamiliarString(ref))
	}
	return event.Built{ID: id, Tags: names}
}

func (b *build) newSolver(p *part, bases *bases) *solver.Solver {
	target := ocispec.Platform{}
	if len(b.Target.Platforms) > 0 {
		target = p.plan.Platform()
	}
	machine := b.Sandbox.Machine
	machine.Hostname = b.Target.hostname()
	return solver.New(b.store, solver.Config{
		Dialect: b.Target.Dialect,
		Target:  target,
		Inputs: solver.Inputs{
			Context: b.input.context, Reopen: b.input.reopen, Named: b.input.named.files,
			Image: bases.image, Fetch: b.fetcher,
		},
		Records: solver.Records{
			NoCache: b.Cache.NoCache, NoCacheFilter: p.filter, Refresh: p.refresh, NoInline: b.Cache.NoInline, Observe: p.observe,
			Imported: p.imported, Shared: b.shared(p.imported), Executed: p.executed,
		},
		Sandbox: solver.Sandbox{
			Network: b.Sandbox.Network, Allow: b.Sandbox.Allow, Machine: machine,
			Secrets: b.Sandbox.Secrets, SSH: b.Sandbox.SSH, Log: b.Sandbox.Log, Caches: b.mountCaches, Remote: b.Sandbox.Remote, Lazy: b.Sandbox.Lazy,
		},
		Events: b.sinks(),
	})
}

// newImage is the state at the end of a build for a platform.
func newImage(p ocispec.Platform, state *solver.State) export.Image {
	img := export.Image{Platform: p, ID: state.ID, Config: state.Config, Steps: state.Steps()}
	if base := state.Base(); base != nil {
		img.Base = base.Config
	}
	return img
}

// export makes the outputs of the images that the build gave, one for each platform.
func (b *build) export(ctx context.Context, images []export.Image) (*export.Result, error) {
	outputs := b.Output.Specs
	if len(outputs) == 0 {
		outputs = []export.Spec{{Kind: export.ToImage}}
	}
	b.pushing.wait(images)
	return export.Run(ctx, b.mover, images, outputs, b.exportOptions())
}

func (b *build) exportOptions() export.Options {
	return export.Options{
		Tags: b.Output.Tags, Epoch: b.epoch, Index: b.index(), Annotations: b.Output.Annotations, File: b.Output.File, Events: b.events,
	}
}

// index says that the result has the form of one for several platforms whatever it is for.
func (b *build) index() bool {
	on, err := strconv.ParseBool(b.Target.Args["BUILDKIT_MULTI_PLATFORM"])
	return err == nil && on
}
