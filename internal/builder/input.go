package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/source/address"
	"github.com/strata-build/strata/internal/builder/source/buildcontext"
	"github.com/strata-build/strata/internal/event"
)

// input is what a build reads: the Dockerfile and the contexts.
type input struct {
	name    string // of the Dockerfile, for messages
	source  []byte
	reading *event.Vertex // of the Dockerfile
	context *buildcontext.Context
	reopen  func() (*buildcontext.Context, error) // nil for what was read from standard input
	remote  *address.Source                       // where the context is, nil for here
	remove  string                                // temporary directory
	named   *namedContexts
}

func (in *input) close() {
	if in.context != nil {
		// The stat cache is for the next build's speed only: this one is not worse for losing it.
		_ = in.context.Close()
	}
	if in.named != nil {
		in.named.close()
	}
	if in.remove != "" {
		os.RemoveAll(in.remove)
	}
}

// planOptions are what a plan for one of the platforms is told.
func (b *build) planOptions(target ocispec.Platform) dockerfile.Options {
	return dockerfile.Options{
		Target: b.Target.Stage, Args: b.values.args, Globals: b.values.globals, Platform: target, BuildPlatform: b.Target.Platform, SeveralPlatforms: len(b.Target.Platforms) > 1,
		Labels: b.Target.Labels, Dialect: b.Target.Dialect, Contexts: b.input.named.meanings(),
		Outline: b.Output.Attest.Traced(),
		Allow:   b.Target.Allow,
		Ignored: b.input.context.IgnoresSource, Found: func(w dockerfile.Warning) { b.events.Send(finding(b.input.reading, w)) },
	}
}

// read reads the Dockerfile and opens the context, of which nothing is read yet.
func (b *build) read(ctx context.Context) (err error) {
	b.input, err = b.readInput(ctx)
	return err
}

func (b *build) readInput(ctx context.Context) (*input, error) {
	if b.Source.Context == "-" && b.Source.Dockerfile == "-" {
		return nil, errors.New("standard input cannot be the context and the Dockerfile: put the Dockerfile into the tar, or name a directory as context")
	}
	if b.Source.Context == "-" {
		return b.readStream(ctx)
	}
	source, err := address.ParseContext(b.Source.Context)
	if err != nil {
		return nil, fmt.Errorf("opening the build context: %w", err)
	}
	if source != nil {
		return b.readRemote(ctx, source)
	}
	if b.Source.Context == "" {
		return nil, errors.New("opening the build context: its path is empty, as of a variable that is not set; give a directory, such as . for this one")
	}
	st, err := os.Stat(b.Source.Context)
	if err != nil {
		return nil, fmt.Errorf("opening the build context: %w; give the path of a directory", err)
	}
	switch {
	case st.Mode().IsRegular():
		return b.readTarFile(ctx)
	case !st.IsDir():
		return nil, fmt.Errorf("opening the build context: %s is neither a directory nor a tar", b.Source.Context)
	}
	path := findDockerfile(&b.Source)
	d, err := b.loadDefinition(ctx, filepath.Base(path), func() (*definition, error) { return readDockerfile(ctx, path) })
	if err != nil {
		return nil, err
	}
	in := &input{}
	in.define(d)
	in.reopen = func() (*buildcontext.Context, error) { return b.openContext(b.Source.Context, d.path) }
	p := b.beginPhase("load .dockerignore")
	in.context, err = in.reopen()
	p.end(err)
	return in, err
}

// define sets the Dockerfile.
func (in *input) define(d *definition) { in.name, in.source, in.reading = d.name, d.source, d.vertex }

// openContext opens a context directory with its stat cache, which is in the store under a name made of the
// directory's path.
func (b *build) openContext(dir, dockerfile string) (*buildcontext.Context, error) {
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
		Cache:      filepath.Join(b.store.Root(), "contexts", hex.EncodeToString(sum[:16])),
		Distrust:   b.Cache.NoCache,
	})
}
