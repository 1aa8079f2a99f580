// Package build makes an image from a Dockerfile and a context: it reads both, has the stages solved, names
// the result, and tells a display what happens.
package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/buildcontext"
	"github.com/strata-build/strata/internal/dockerfile"
	"github.com/strata-build/strata/internal/explain"
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
	Engine    dockerfile.Engine
	Platform  ocispec.Platform
	// Display is told of what happens.
	Display Display
	// Explained, if not nil, is given what became of the steps and why, also where the build failed.
	Explained func(*explain.Build)
	// Summary, if not nil, is given what remains to be said, line by line.
	Summary func([]string)
}

// Display shows a build: as BuildKit does for the graph engine, as Docker's first builder did for the classic
// one.
type Display interface {
	solver.Reporter
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
}

// Run builds. The error of a step is, or wraps, a *dockerfile.Error; then nothing was tagged, and all steps
// before it are in the cache.
func Run(ctx context.Context, m *transfer.Mover, o Options) (digest.Digest, error) {
	s := m.Store
	if err := s.Begin(); err != nil {
		return "", err
	}
	in, err := readInput(ctx, s, o)
	if err != nil {
		return "", err
	}
	defer in.close()
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
	if o.Summary != nil {
		o.Summary(j.summary)
	}
	return id, err
}

// solve makes the image of a plan.
func solve(ctx context.Context, m *transfer.Mover, in *input, plan *dockerfile.Plan, j *journal, o Options) (digest.Digest, error) {
	o.Display.Plan(plan)
	for _, w := range plan.Warnings {
		o.Display.Warning(w.String())
	}
	m.Progress = o.Display.Transfer
	sv := &solver.Solver{
		Store:    m.Store,
		Engine:   o.Engine,
		Platform: o.Platform,
		Context:  in.context,
		Reopen:   in.reopen,
		NoCache:  o.NoCache,
		Refresh:  in.refresh,
		Sources:  sources(ctx, m, o),
		NoInline: o.NoInline,
		Network:  o.Network,
		Report:   j,
		Inputs:   j.inputs,
		Refused:  j.refuse,
		Warn:     o.Display.Warning,

		NoCacheFilter: in.filter,
		Image: func(ctx context.Context, ref string) (*solver.State, error) {
			return baseImage(ctx, m, ref, o)
		},
	}
	state, err := sv.Solve(ctx, plan)
	if err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", err
	}
	id, err := export(m.Store, state, o)
	if err != nil {
		return "", err
	}
	if err := exportCaches(ctx, m, sv, plan, o); err != nil {
		return "", err
	}
	return id, nil
}

// baseImage finds the image of a FROM or COPY --from.
func baseImage(ctx context.Context, m *transfer.Mover, ref string, o Options) (*solver.State, error) {
	name := ref
	if named, err := reference.ParseNormalizedNamed(ref); err == nil {
		name = reference.TagNameOnly(named).String()
	}
	done := o.Display.Phase("load metadata for " + name)
	c, err := m.Base(ctx, ref, o.Pull)
	done(err)
	if err != nil {
		return nil, err
	}
	state, err := solver.NewState(m.Store, c)
	if err != nil {
		return nil, err
	}
	p := state.Config.Platform
	if p.OS != "" && p.OS != o.Platform.OS || p.Architecture != "" && p.Architecture != o.Platform.Architecture {
		return nil, fmt.Errorf("image %s is for %s/%s and this machine is %s/%s; take an image for this machine, or pull the name again if it has one",
			ref, p.OS, p.Architecture, o.Platform.OS, o.Platform.Architecture)
	}
	return state, nil
}

// export makes the target's state an image and names it.
func export(s *store.Store, state *solver.State, o Options) (digest.Digest, error) {
	if state.ID == "" {
		return "", errors.New("the target is an empty stage (FROM scratch and nothing else), which gives no image; add an instruction to it")
	}
	done := o.Display.Phase("exporting to image")
	c, err := s.Config(state.ID)
	if err == nil {
		_, err = s.PutConfig(c.Data, c.Parent, store.Image)
	}
	var names []string
	for _, tag := range o.Tags {
		if err == nil {
			_, err = s.SetName(tag, state.ID, "")
		}
		names = append(names, reference.FamiliarString(tag))
	}
	done(err)
	if err != nil {
		return "", fmt.Errorf("naming the image: %w", err)
	}
	o.Display.Built(state.ID, names)
	return state.ID, nil
}

// input is what a build reads: the Dockerfile and the context, and which steps of it run again.
type input struct {
	name    string // of the Dockerfile, for messages
	source  []byte
	context *buildcontext.Context
	reopen  func() (*buildcontext.Context, error) // nil for what was read from standard input
	remove  string                                // temporary directory
	filter  *dockerfile.Selection
	refresh *solver.Refresh
}

func (in *input) close() {
	if in.context != nil {
		// The stat cache is for the next build's speed only: this one is not worse for losing it.
		_ = in.context.Close()
	}
	if in.remove != "" {
		os.RemoveAll(in.remove)
	}
}

func (in *input) plan(o Options) (*dockerfile.Plan, error) {
	f, err := dockerfile.Parse(in.source, in.name)
	if err != nil {
		return nil, err
	}
	return f.Plan(dockerfile.Options{
		Target: o.Target, Args: o.Args, Platform: o.Platform, Labels: o.Labels, Engine: o.Engine,
	})
}

func readInput(ctx context.Context, s *store.Store, o Options) (*input, error) {
	if o.Context == "-" && o.Dockerfile == "-" {
		return nil, errors.New("standard input cannot be the context and the Dockerfile: put the Dockerfile into the tar, or name a directory as context")
	}
	if o.Context == "-" {
		return readStream(ctx, s, o)
	}
	st, err := os.Stat(o.Context)
	if err != nil {
		return nil, fmt.Errorf("opening the build context: %w; give the path of a directory", err)
	}
	if !st.IsDir() {
		return nil, fmt.Errorf("opening the build context: %s is not a directory; give the directory, and the Dockerfile with -f", o.Context)
	}
	path := findDockerfile(o)
	in := &input{name: filepath.Base(path)}
	if path == "-" {
		in.name = "standard input"
	}
	done := o.Display.Phase("load build definition from " + in.name)
	in.source, err = readDockerfile(path, o)
	done(err)
	if err != nil {
		return nil, err
	}
	in.reopen = func() (*buildcontext.Context, error) { return openContext(s, o.Context, path) }
	done = o.Display.Phase("load .dockerignore")
	in.context, err = in.reopen()
	done(err)
	return in, err
}

// findDockerfile gives the path of the Dockerfile, "-" for standard input. -f is relative to where one is, as
// in Docker; where nothing is there, relative to the context. Without -f it is Dockerfile or dockerfile.
func findDockerfile(o Options) string {
	path, other := o.Dockerfile, filepath.Join(o.Context, o.Dockerfile)
	switch {
	case path == "-" || filepath.IsAbs(path):
		return path
	case path == "":
		path, other = filepath.Join(o.Context, "Dockerfile"), filepath.Join(o.Context, "dockerfile")
	}
	if !exists(path) && exists(other) {
		return other
	}
	return path
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// maxDockerfile is more than package dockerfile takes, so that it can say that there is too much.
const maxDockerfile = 2 << 20

func readDockerfile(path string, o Options) ([]byte, error) {
	if path == "-" {
		data, err := io.ReadAll(io.LimitReader(o.Stdin, maxDockerfile))
		if err != nil {
			return nil, fmt.Errorf("reading the Dockerfile from standard input: %w", err)
		}
		return data, nil
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no Dockerfile: %s does not exist; write one there, or name another with -f", path)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the Dockerfile: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxDockerfile))
	if err != nil {
		return nil, fmt.Errorf("reading the Dockerfile: %w; name a file with -f", err)
	}
	return data, nil
}

// openContext opens a context directory with its stat cache, which is in the store under a name made of the
// directory's path.
func openContext(s *store.Store, dir, dockerfile string) (*buildcontext.Context, error) {
	abs, err := filepath.Abs(dir)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the build context: %w", err)
	}
	sum := sha256.Sum256([]byte(abs))
	return buildcontext.Open(abs, buildcontext.Options{
		Dockerfile: dockerfile,
		Cache:      filepath.Join(s.Root(), "contexts", hex.EncodeToString(sum[:16])),
	})
}

// readStream reads what `strata build -` is given.
func readStream(ctx context.Context, s *store.Store, o Options) (*input, error) {
	kind, r, err := buildcontext.Detect(o.Stdin)
	if err != nil {
		return nil, fmt.Errorf("reading standard input: %w", err)
	}
	dir, err := s.Temp("context")
	if err != nil {
		return nil, err
	}
	in := &input{name: "Dockerfile", remove: dir}
	if kind == buildcontext.Dockerfile {
		done := o.Display.Phase("load build definition from standard input")
		in.source, err = io.ReadAll(io.LimitReader(r, maxDockerfile))
		done(err)
		if err == nil {
			in.context, err = buildcontext.Open(dir, buildcontext.Options{})
		}
	} else {
		done := o.Display.Phase("load build context")
		err = in.readTar(ctx, r, dir, o.Dockerfile)
		done(err)
	}
	if err != nil {
		in.close()
		return nil, fmt.Errorf("reading standard input: %w", err)
	}
	return in, nil
}

func (in *input) readTar(ctx context.Context, r io.Reader, dir, dockerfile string) (err error) {
	if err := buildcontext.Unpack(ctx, r, dir); err != nil {
		return err
	}
	if dockerfile == "" {
		dockerfile = "Dockerfile"
	}
	in.name = dockerfile
	if in.context, err = buildcontext.Open(dir, buildcontext.Options{Dockerfile: filepath.Join(dir, dockerfile)}); err != nil {
		return err
	}
	in.source, err = in.context.ReadFile(strings.TrimPrefix(filepath.Clean("/"+dockerfile), "/"))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no Dockerfile: the tar has no %s; put one in, or name another with -f", dockerfile)
	}
	return err
}
