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
func (t *Target) contextOptions() remote.ContextOptions {
	keep, err := strconv.ParseBool(t.Args["BUILDKIT_CONTEXT_KEEP_GIT_DIR"])
	return remote.ContextOptions{KeepGitDir: err == nil && keep, CommitTime: t.Args[sourceDateEpoch] != ""}
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
func (b *build) readRemote(ctx context.Context, source *address.Source) (*input, error) {
	name := "load remote build context"
	if source.Git != nil {
		name = "load git source " + source.String()
	}
	p := b.beginPhase(name)
	dir, c, err := layRemote(ctx, b.store, b.fetcher, source, b.Target.contextOptions())
	p.end(err)
	if err != nil {
		return nil, err
	}
	in, err := b.readLaid(ctx, dir, c.Dockerfile, source.String())
	if err != nil {
		return nil, err
	}
	in.remote = source
	return in, nil
}
