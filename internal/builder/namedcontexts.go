package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/solver"
	"github.com/strata-build/strata/internal/builder/source/address"
	"github.com/strata-build/strata/internal/builder/source/buildcontext"
	"github.com/strata-build/strata/internal/builder/source/remote"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/store"
)

// namedContexts are the --build-contexts of a build. Each is opened when the first step asks for its files.
type namedContexts struct {
	store   *store.Store
	fetcher *remote.Fetcher
	events  event.Sink
	specs   map[string]*ContextSpec
	layouts map[string]*LayoutSpec // by the names by which the plan knows their images
	others  map[string]*Other      // by those names too
	// openContext opens the files of a directory.
	openContext func(dir, dockerfile string) (*buildcontext.Context, error)

	mu   sync.Mutex
	open map[string]*namedFiles
}

// namedFiles are the files of a named context that somebody may be opening.
type namedFiles struct {
	once    sync.Once
	context *buildcontext.Context
	files   *solver.Files
	remove  string // temporary directory, "" for none
	err     error
}

// newNamedContexts checks what can be checked of the contexts. Of two of one name the later counts.
func (b *build) newNamedContexts() (*namedContexts, error) {
	n := &namedContexts{
		store: b.store, fetcher: b.fetcher, events: b.events,
		specs: map[string]*ContextSpec{}, layouts: map[string]*LayoutSpec{}, others: map[string]*Other{}, open: map[string]*namedFiles{}, openContext: b.openContext,
	}
	for _, spec := range b.Source.Contexts {
		if err := spec.check(); err != nil {
			return nil, fmt.Errorf("--build-context %s: %w", spec.Name, err)
		}
		if spec.Layout != nil {
			n.layouts[spec.Layout.name()] = spec.Layout
		}
		if spec.Other != nil {
			n.others[spec.Other.name()] = spec.Other
		}
		n.specs[spec.Name] = spec
	}
	return n, nil
}

// meanings are what a plan has to know of the contexts.
func (n *namedContexts) meanings() map[string]dockerfile.Named {
	all := map[string]dockerfile.Named{}
	for name, spec := range n.specs {
		all[name] = dockerfile.Named{Image: spec.plannedImage(), Stage: spec.Stage}
	}
	return all
}

// files are those of the context of a name.
func (n *namedContexts) files(ctx context.Context, name string) (*solver.Files, error) {
	n.mu.Lock()
	f := n.open[name]
	if f == nil {
		f = &namedFiles{}
		n.open[name] = f
	}
	n.mu.Unlock()
	f.once.Do(func() { f.err = n.load(ctx, f, n.specs[name]) })
	return f.files, f.err
}

func (n *namedContexts) load(ctx context.Context, f *namedFiles, spec *ContextSpec) (err error) {
	reopen := func() (*buildcontext.Context, error) { return n.openContext(spec.Dir, "") }
	what := "load .dockerignore"
	if spec.Remote != nil {
		what = "load " + spec.Remote.String()
		reopen = func() (*buildcontext.Context, error) { return n.layRemote(ctx, f, spec.Remote) }
	}
	p := beginNamed(n.events, "[context "+spec.Name+"] "+what)
	defer func() { p.end(err) }()
	if f.context, err = reopen(); err != nil {
		return fmt.Errorf("--build-context %s: %w", spec.Name, err)
	}
	f.files = &solver.Files{Tree: f.context}
	if spec.Remote == nil {
		f.files.Reopen = reopen
	}
	return nil
}

// layRemote lays out what is elsewhere: the files of a git repository, or, as in BuildKit (dockerui/namedcontext.go), the
// one of a URL, which is called "context" and not unpacked.
func (n *namedContexts) layRemote(ctx context.Context, f *namedFiles, source *address.Source) (_ *buildcontext.Context, err error) {
	if source.Git != nil {
		f.remove, _, err = layRemote(ctx, n.store, n.fetcher, source, remote.ContextOptions{})
	} else {
		f.remove, err = n.layFile(ctx, source.URL)
	}
	if err != nil {
		return nil, err
	}
	return buildcontext.Open(f.remove, buildcontext.Options{})
}

func (n *namedContexts) layFile(ctx context.Context, url string) (dir string, err error) {
	file, err := n.fetcher.File(ctx, url, "")
	if err != nil {
		return "", err
	}
	if dir, err = n.store.Temp("context"); err != nil {
		return "", err
	}
	name := filepath.Join(dir, "context")
	out, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // BuildKit's mode
	if err == nil {
		_, err = io.Copy(out, file.Reader())
		err = errors.Join(err, out.Close())
	}
	if err == nil && !file.Modified.IsZero() {
		err = os.Chtimes(name, file.Modified, file.Modified)
	}
	if err != nil {
		os.RemoveAll(dir)
		return "", fmt.Errorf("keeping %s: %w", address.Redact(url), err)
	}
	return dir, nil
}

func (n *namedContexts) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, f := range n.open {
		if f.context != nil {
			_ = f.context.Close() // its stat cache is for the next build's speed only
		}
		if f.remove != "" {
			os.RemoveAll(f.remove)
		}
	}
}
