// Package build makes an image from a Dockerfile and a context: it reads both, has the stages solved, names
// the result, and tells a display what happens.
package build

import (
	"context"
	"io"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/dockerfile"
	"github.com/strata-build/strata/internal/explain"
	"github.com/strata-build/strata/internal/export"
	"github.com/strata-build/strata/internal/runner"
	"github.com/strata-build/strata/internal/solver"
	"github.com/strata-build/strata/internal/store"
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
	// Machine is what RUN steps find on their machine.
	Machine runner.Machine
	// Allow is what the Dockerfile may ask for.
	Allow  []dockerfile.Entitlement
	Engine dockerfile.Engine
	// Platform is this machine's, Platforms what is built for: none is this machine's, several make an image for each.
	Platform  ocispec.Platform
	Platforms []ocispec.Platform
	// Outputs are what becomes of the result; none makes it an image of the store, named by Tags.
	Outputs []export.Spec
	// File writes the file of an output's dest: export.Options.File.
	File func(dest string, write func(io.Writer) error) error
	// Annotations are those of all images that go out.
	Annotations []export.Annotation
	// Epoch is SOURCE_DATE_EPOCH: no time of what is built is after it; nil if it is not set.
	Epoch *time.Time
	// Exported, if not nil, is given what the outputs gave.
	Exported func(*export.Result)
	// Display is told of what happens.
	Display Display
	// Explained, if not nil, is given what became of the steps and why, also where the build failed.
	Explained func(*explain.Build)
	// Findings, if not nil, is given what is probably not meant in the Dockerfile, also where the build failed.
	Findings func(name string, source []byte, found []dockerfile.Warning)
	// Summary, if not nil, is given what remains to be said, line by line.
	Summary func([]string)
}

// target is what is built for.
func (o *Options) target() ocispec.Platform {
	if len(o.Platforms) == 0 {
		return o.Platform
	}
	return o.Platforms[0]
}

// Display shows a build: as BuildKit does for the graph engine, as Docker's first builder did for the classic
// one.
type Display interface {
	solver.Reporter
	export.Display
	// Phase begins what is not a step, "load build context", and returns what ends it.
	Phase(name string) (done func(error))
	// Plan gives the stages that will be solved.
	Plan(p *dockerfile.Plan)
	// Transfer tells of a layer that is fetched.
	Transfer(blob digest.Digest, status string, current, total int64)
	// Built gives the result.
	Built(id digest.Digest, tags []string)
	// Note puts a line beside a step that runs: why it does.
	Note(s *dockerfile.Step, text string)
	// Warning prints a line that is not an error.
	Warning(line string)
	// Found tells of something in the Dockerfile that is probably not meant.
	Found(w dockerfile.Warning)
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
	if in.named, err = newNamedContexts(s, o); err != nil {
		return "", err
	}
	plan, err := in.plan(o)
	if err != nil {
		return "", err
	}
	if err := in.chooseSteps(plan, o); err != nil {
		return "", err
	}
	j := newJournal(ctx, s, plan, o)
	o.Display = j
	id, err := solve(ctx, m, in, plan, j, o)
	b := j.close(id, err)
	j.noteUse()
	if o.Explained != nil {
		o.Explained(b)
	}
	if o.Findings != nil {
		o.Findings(in.name, in.source, plan.Findings())
	}
	if o.Summary != nil {
		o.Summary(j.summary)
	}
	return id, err
}

// solve makes the image of a plan.
func solve(ctx context.Context, m *transfer.Mover, in *input, plan *dockerfile.Plan, j *journal, o Options) (digest.Digest, error) {
	o.Display.Plan(plan)
	sv := newSolver(ctx, m, in, plan, j, o)
	if o.Engine == dockerfile.Graph && plan.Strict() {
		if err := strict(ctx, sv, plan); err != nil {
			return "", err
		}
	}
	state, err := sv.Solve(ctx, plan)
	if err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", err
	}
	images := []export.Image{newImage(plan.Platform(), state)}
	id, err := exportImages(ctx, m, images, o)
	if err != nil {
		return "", err
	}
	if err := exportCaches(ctx, m, sv, plan, o); err != nil {
		return "", err
	}
	return id, nil
}

func newSolver(ctx context.Context, m *transfer.Mover, in *input, plan *dockerfile.Plan, j *journal, o Options) *solver.Solver {
	m.Progress = o.Display.Transfer
	target := ocispec.Platform{}
	if len(o.Platforms) > 0 {
		target = plan.Platform()
	}
	return &solver.Solver{
		Store:    m.Store,
		Engine:   o.Engine,
		Target:   target,
		Context:  in.context,
		Reopen:   in.reopen,
		Named:    in.named.files,
		Fetch:    in.fetcher,
		NoCache:  o.NoCache,
		Refresh:  in.refresh,
		Sources:  sources(ctx, m, o),
		NoInline: o.NoInline,
		Network:  o.Network,
		Machine:  o.Machine,
		Report:   j,
		Inputs:   j.inputs,
		Refused:  j.refuse,
		Warn:     o.Display.Warning,

		NoCacheFilter: in.filter,
		Image: func(ctx context.Context, ref string, p ocispec.Platform) (*solver.State, error) {
			return baseImage(ctx, m, in.named, ref, p, o)
		},
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
		Tags: o.Tags, Epoch: o.Epoch, Annotations: o.Annotations, File: o.File, Display: o.Display,
	})
	if err != nil {
		return "", err
	}
	if o.Exported != nil {
		o.Exported(result)
	}
	id := result.ID
	if id == "" {
		id = images[0].ID // of files: the step that they are of
	}
	var names []string
	for _, ref := range result.Names {
		names = append(names, reference.FamiliarString(ref))
	}
	o.Display.Built(id, names)
	return id, nil
}

// baseImage finds the image of a FROM or COPY --from, for a platform.
func baseImage(ctx context.Context, m *transfer.Mover, named *namedContexts, ref string, p ocispec.Platform, o Options) (*solver.State, error) {
	name := ref
	if full, err := reference.ParseNormalizedNamed(ref); err == nil {
		name = reference.TagNameOnly(full).String()
	}
	done := o.Display.Phase("load metadata for " + name)
	var c *store.Config
	var err error
	if l := named.layouts[ref]; l != nil {
		c, err = m.LayoutBase(l.Dir, l.Tag, l.Digest, p)
	} else {
		c, err = m.Base(ctx, ref, p, o.Pull)
	}
	done(err)
	if err != nil {
		return nil, err
	}
	return solver.NewState(m.Store, c)
}
