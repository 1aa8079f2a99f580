package remote

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/strata-build/strata/internal/builder/source/address"
	"github.com/strata-build/strata/internal/builder/source/buildcontext"
)

// Context is a build's context that is elsewhere.
type Context struct {
	// Dockerfile is the name of the Dockerfile in it where the URL gave a Dockerfile instead of an archive, else "".
	Dockerfile string
	// Commit is that of a git repository, nil for a URL.
	Commit *Commit
	// Modified is the Last-Modified of a URL; the zero time if it has none.
	Modified time.Time
}

// ContextOptions say how a context that is a git repository is laid out.
type ContextOptions struct {
	// KeepGitDir keeps the .git directory, whatever the address says (BUILDKIT_CONTEXT_KEEP_GIT_DIR).
	KeepGitDir bool
	// CommitTime gives the files the time of the commit, as BuildKit does for a build with SOURCE_DATE_EPOCH.
	CommitTime bool
}

// urlContext is what BuildKit calls the file that a URL gives (dockerui/context.go). If it is a Dockerfile, it is the
// whole context, under this name.
const urlContext = "context"

// Context lays out in the empty directory dir what a source of a build's context has: the files of a git repository,
// those of an archive, plain or compressed, or a single Dockerfile.
func (f *Fetcher) Context(ctx context.Context, s *address.Source, o ContextOptions, dir string) (*Context, error) {
	if s.Git != nil {
		r := s.Git
		c, err := f.Commit(ctx, r)
		if err != nil {
			return nil, err
		}
		return &Context{Commit: c}, f.Checkout(ctx, c, Tree{
			KeepGitDir: o.KeepGitDir || r.KeepGitDir != nil && *r.KeepGitDir,
			Submodules: r.Submodules == nil || *r.Submodules,
			CommitTime: o.CommitTime || r.CommitTime,
		}, dir)
	}
	file, err := f.File(ctx, s.URL, "")
	if err != nil {
		return nil, err
	}
	c := &Context{Modified: file.Modified}
	kind, r, err := buildcontext.Detect(file.Reader())
	if err == nil && kind == buildcontext.Dockerfile {
		c.Dockerfile = urlContext
		err = writeFile(filepath.Join(dir, urlContext), r)
	} else if err == nil {
		err = buildcontext.Unpack(ctx, r, dir, f.Store.Limits().On(f.Store.Root()))
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", s, err)
	}
	return c, nil
}

func writeFile(name string, r io.Reader) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, r); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
