package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/strata-build/strata/internal/buildcontext"
	"github.com/strata-build/strata/internal/fetch"
	"github.com/strata-build/strata/internal/remote"
	"github.com/strata-build/strata/internal/store"
)

// newFetcher makes what fetches for a build.
func newFetcher(s *store.Store, _ Options) *fetch.Fetcher {
	return fetch.New(s)
}

// contextOptions say how a context that is a git repository is laid out, by BuildKit's build arguments.
func contextOptions(o Options) fetch.ContextOptions {
	keep, err := strconv.ParseBool(o.Args["BUILDKIT_CONTEXT_KEEP_GIT_DIR"])
	return fetch.ContextOptions{KeepGitDir: err == nil && keep, CommitTime: o.Args[sourceDateEpoch] != ""}
}

// layRemote lays out a context that is elsewhere in a new temporary directory, which the caller removes.
func layRemote(ctx context.Context, s *store.Store, f *fetch.Fetcher, source *remote.Source, o fetch.ContextOptions) (string, *fetch.Context, error) {
	dir, err := s.Temp("context")
	if err != nil {
		return "", nil, err
	}
	c, err := f.Context(ctx, source, o, dir)
	if err != nil {
		os.RemoveAll(dir)
		return "", nil, err
	}
	return dir, c, nil
}

// readRemote reads the Dockerfile and the context of a build whose context is elsewhere. -f is a path in it, or "-"
// for a Dockerfile on standard input.
func readRemote(ctx context.Context, s *store.Store, f *fetch.Fetcher, source *remote.Source, o Options) (_ *input, err error) {
	phase := "load remote build context"
	if source.Git != nil {
		phase = "load git source " + source.String()
	}
	done := o.Display.Phase(phase)
	dir, c, err := layRemote(ctx, s, f, source, contextOptions(o))
	done(err)
	if err != nil {
		return nil, err
	}
	in := &input{name: o.Dockerfile, remove: dir}
	if o.Args[sourceDateEpoch] == contextEpoch {
		in.modified = timeOf(c, dir)
	}
	defer func() {
		if err != nil {
			in.close()
		}
	}()
	switch {
	case c.Dockerfile != "":
		in.name = c.Dockerfile
	case in.name == "":
		in.name = "Dockerfile"
		if !exists(filepath.Join(dir, in.name)) && exists(filepath.Join(dir, "dockerfile")) {
			in.name = "dockerfile"
		}
	}
	path := filepath.Join(dir, filepath.Clean("/"+in.name))
	if o.Dockerfile == "-" {
		in.name, path = "standard input", "-"
	}
	done = o.Display.Phase("load build definition from " + in.name)
	defer func() { done(err) }()
	if in.context, err = buildcontext.Open(dir, buildcontext.Options{Dockerfile: path}); err != nil {
		return nil, err
	}
	if path == "-" {
		in.source, err = readDockerfile(path, o)
		return in, err
	}
	in.source, err = in.context.ReadFile(strings.TrimPrefix(filepath.Clean("/"+in.name), "/"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no Dockerfile: %s has no %s; name another with -f", source, in.name)
	}
	return in, err
}
