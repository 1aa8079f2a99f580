// Package builder makes an image from a Dockerfile and a context: it reads both, has the stages solved, names
// the result, and tells a display what happens.
package builder

import (
	"context"
	"io"
	"strconv"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/exec"
	"github.com/strata-build/strata/internal/builder/explain"
	"github.com/strata-build/strata/internal/builder/export"
	"github.com/strata-build/strata/internal/builder/solver"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/sandbox/runner"
	"github.com/strata-build/strata/internal/sandbox/secret"
	"github.com/strata-build/strata/internal/sandbox/sshagent"
	"github.com/strata-build/strata/internal/transfer"
)

// Options are what `strata build` is asked for.
type Options struct {
	// Context is a directory, or "-" for Stdin: a tar, compressed or not, or a Dockerfile without a context.
	Context string
	Stdin   io.Reader
	// Dockerfile is its path, "" for Dockerfile in the context, "-" for Stdin.
	Dockerfile string
	Contexts   []*ContextSpec // --build-context
	Tags       []reference.Named
	Args       map[string]string // --build-arg
	Target     string
	Labels     map[string]string
	NoCache    bool // run every step
	// NoCacheFilter are steps that run whatever is recorded, as dockerfile.Plan.Select reads them.
	NoCacheFilter []string
	// Refresh runs recorded steps again: RefreshAll those that fetch from the network, an age such as "24h" those of
	// them that are older, anything else those that it names, as NoCacheFilter does. nil runs none.
	Refresh   []string
	Pull      bool // ask the registry for base images though they are here
	CacheFrom []CacheSpec
	CacheTo   []CacheSpec
	NoInline  bool // leave the inline cache out of the image
	Network   runner.Network
	// Secrets and SSH are what RUN --mount=type=secret and type=ssh may ask for.
	Secrets *secret.Store
	SSH     *sshagent.Agents
	// Machine is what RUN steps find on their machine.
	Machine runner.Machine
	// Allow is what the Dockerfile may ask for.
	Allow  []dockerfile.Entitlement
	Engine dialect.Dialect
	// Platform is this machine's, Platforms what is built for: none is this machine's, several make an image for each.
	Platform  ocispec.Platform
	Platforms []ocispec.Platform
	// Outputs are what becomes of the result; none makes it an image of the store, named by Tags.
	Outputs []export.Spec
	// File writes the file of an output's dest: export.Options.File.
	File func(dest string, write func(io.Writer) error) error
	// Annotations are those of all images that go out.
	Annotations []export.Annotation
	// Exported, if not nil, is given what the outputs gave.
	Exported func(*export.Result)
	// StepLog bounds what steps show of what they print, nil as exec.DefaultLogLimit says.
	StepLog *exec.LogLimit
	// Events gets what happens.
	Events event.Sink
	// Explained, if not nil, is given what became of the steps and why, also where the build failed.
	Explained func(*explain.Build)
	// Findings, if not nil, is given what is probably not meant in the Dockerfile, also where the build failed.
	Findings func(name string, source []byte, found []dockerfile.Warning)
	// Summary, if not nil, is given what remains to be said, line by line.
	Summary func([]string)

	epoch *time.Time // SOURCE_DATE_EPOCH, nil if it is not set
	// globals are values of ARGs before the first FROM, instead of those that the Dockerfile gives them.
	globals map[string]string
}

// index says that the result has the form of one for several platforms whatever it is for.
func (o *Options) index() bool {
	on, err := strconv.ParseBool(o.Args["BUILDKIT_MULTI_PLATFORM"])
	return err == nil && on
}

// hostname is what a RUN finds as its machine's name, by BuildKit's build argument. The classic
// engine knows none of those.
func (o *Options) hostname() string {
	if !o.Engine.File.BuildKitArgs {
		return ""
	}
	return o.Args["BUILDKIT_SANDBOX_HOSTNAME"]
}

// Run builds. The error of a step is, or wraps, a *dockerfile.Error; then nothing was tagged, and all steps
// before it are in the cache.
func Run(ctx context.Context, m *transfer.Mover, o Options) (digest.Digest, error) {
	s := m.Store
	if err := s.Begin(); err != nil {
		return "", err
	}
	fetcher := newFetcher(s, o)
	defer fetcher.Close()
	in, err := readInput(ctx, s, fetcher, o)
	if err != nil {
		return "", err
	}
	defer in.close()
	in.fetcher = fetcher
	if in.named, err = newNamedContexts(s, fetcher, o); err != nil {
		return "", err
	}
	if err := in.resolveEpoch(ctx, s, &o); err != nil {
		return "", err
	}
	parts, err := in.plans(o)
	if err != nil {
		return "", err
	}
	if o.epoch, err = epoch(parts, o); err != nil {
		return "", err
	}
	j := explain.NewJournal(ctx, s, newBuild(o), o.Events)
	o.Events = j
	id, remembered, err := solve(ctx, m, in, parts, o)
	b, summary := j.Close(remembered, withoutPlace(err))
	if o.Explained != nil {
		o.Explained(b)
	}
	if o.Findings != nil {
		o.Findings(in.name, in.source, findings(parts))
	}
	if o.Summary != nil {
		o.Summary(summary)
	}
	return id, err
}

// solve makes the images of all parts, and what is asked for of them. It gives the ID of what people mean by the result,
// and that of the image that the build is remembered by: the same unless there are several.
func solve(ctx context.Context, m *transfer.Mover, in *input, parts []*part, o Options) (id, remembered digest.Digest, err error) {
	for _, p := range parts {
		o.Events.Send(solver.Planned(p.plan))
	}
	images, err := solveAll(ctx, m, in, parts, o)
	if err != nil {
		if ctx.Err() != nil {
			return "", "", context.Cause(ctx)
		}
		return "", "", err
	}
	if id, err = exportImages(ctx, m, images, o); err != nil {
		return "", "", err
	}
	if remembered = id; len(images) > 1 {
		remembered = resultOf(images, o.Platform)
	}
	if err := exportCaches(ctx, m, parts, o); err != nil {
		return "", "", err
	}
	return id, remembered, nil
}

func newSolver(m *transfer.Mover, in *input, p *part, bases *bases, o Options) *solver.Solver {
	target := ocispec.Platform{}
	if len(o.Platforms) > 0 {
		target = p.plan.Platform()
	}
	return &solver.Solver{
		Store:    m.Store,
		Dialect:  o.Engine,
		Target:   target,
		Context:  in.context,
		Reopen:   in.reopen,
		Named:    in.named.files,
		Fetch:    in.fetcher,
		NoCache:  o.NoCache,
		Refresh:  p.refresh,
		NoInline: o.NoInline,
		Network:  o.Network,
		Machine:  o.Machine,
		Hostname: o.hostname(),
		Secrets:  o.Secrets,
		SSH:      o.SSH,
		Events:   o.Events,
		StepLog:  o.StepLog,

		NoCacheFilter: p.filter,
		Image:         bases.image,
	}
}

// newImage is the state at the end of a build for a platform.
func newImage(p ocispec.Platform, state *solver.State) export.Image {
	img := export.Image{Platform: p, ID: state.ID, Config: state.Config, Steps: state.Steps()}
	if base := state.Base(); base != nil {
		img.Base = base.Config
	}
	return img
}

// exportImages makes the outputs of the images that the build gave, one for each platform, and returns the ID of what
// people mean by the result.
func exportImages(ctx context.Context, m *transfer.Mover, images []export.Image, o Options) (digest.Digest, error) {
	outputs := o.Outputs
	if len(outputs) == 0 {
		outputs = []export.Spec{{Kind: export.ToImage}}
	}
	result, err := export.Run(ctx, m, images, outputs, export.Options{
		Tags: o.Tags, Epoch: o.epoch, Index: o.index(), Annotations: o.Annotations, File: o.File, Events: o.Events,
	})
	if err != nil {
		return "", err
	}
	if o.Exported != nil {
		o.Exported(result)
	}
	id := result.ID
	if id == "" || id == images[0].ID {
		id = resultOf(images, o.Platform) // of files, the step that they are of
	}
	var names []string
	for _, ref := range result.Names {
		names = append(names, reference.FamiliarString(ref))
	}
	o.Events.Send(event.Built{ID: id, Tags: names})
	return id, nil
}
