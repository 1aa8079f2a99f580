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
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/buildcontext"
	"github.com/strata-build/strata/internal/dockerfile"
	"github.com/strata-build/strata/internal/fetch"
	"github.com/strata-build/strata/internal/remote"
	"github.com/strata-build/strata/internal/store"
)

// input is what a build reads: the Dockerfile and the contexts.
type input struct {
	name     string // of the Dockerfile, for messages
	source   []byte
	context  *buildcontext.Context
	reopen   func() (*buildcontext.Context, error) // nil for what was read from standard input
	modified time.Time                             // of a remote context, if somebody asked for it
	remove   string                                // temporary directory
	named    *namedContexts
	fetcher  *fetch.Fetcher
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
func (in *input) planOptions(o Options, target ocispec.Platform) dockerfile.Options {
	return dockerfile.Options{
		Target: o.Target, Args: o.Args, Platform: target, BuildPlatform: o.Platform, SeveralPlatforms: len(o.Platforms) > 1,
		Labels: o.Labels, Engine: o.Engine, Contexts: in.named.meanings(),
		Allow:   o.Allow,
		Ignored: in.context.IgnoresSource, Found: o.Display.Found,
	}
}

func readInput(ctx context.Context, s *store.Store, f *fetch.Fetcher, o Options) (*input, error) {
	if o.Context == "-" && o.Dockerfile == "-" {
		return nil, errors.New("standard input cannot be the context and the Dockerfile: put the Dockerfile into the tar, or name a directory as context")
	}
	if o.Context == "-" {
		return readStream(ctx, s, o)
	}
	source, err := remote.ParseContext(o.Context)
	if err != nil {
		return nil, fmt.Errorf("opening the build context: %w", err)
	}
	if source != nil {
		return readRemote(ctx, s, f, source, o)
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
