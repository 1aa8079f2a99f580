package builder

import (
	"context"
	"os"
	"strconv"

	"github.com/strata-build/strata/internal/builder/source/address"
	"github.com/strata-build/strata/internal/builder/source/remote"
	"github.com/strata-build/strata/internal/store"
)

// contextOptions say how a context that is a git repository is laid out, by BuildKit's build arguments.
func contextOptions(o Options) remote.ContextOptions {
	keep, err := strconv.ParseBool(o.Args["BUILDKIT_CONTEXT_KEEP_GIT_DIR"])
	return remote.ContextOptions{KeepGitDir: err == nil && keep, CommitTime: o.Args[sourceDateEpoch] != ""}
}

// layRemote lays out a context that is elsewhere in a new temporary directory, which the caller removes.
func layRemote(ctx context.Context, s *store.Store, f *remote.Fetcher, source *address.Source, o remote.ContextOptions) (string, *remote.Context, error) {
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
func readRemote(ctx context.Context, s *store.Store, f *remote.Fetcher, source *address.Source, o Options) (*input, error) {
	name := "load remote build context"
	if source.Git != nil {
		name = "load git source " + source.String()
	}
	p := beginPhase(o.Events, name)
	dir, c, err := layRemote(ctx, s, f, source, contextOptions(o))
	p.end(err)
	if err != nil {
		return nil, err
	}
	in, err := readLaid(ctx, f, dir, c.Dockerfile, source.String(), o)
	if err != nil {
		return nil, err
	}
	in.remote = source
	return in, nil
}
