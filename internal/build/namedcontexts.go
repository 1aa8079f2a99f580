package build

import (
	"context"
	"fmt"
	"sync"

	"github.com/strata-build/strata/internal/buildcontext"
	"github.com/strata-build/strata/internal/dockerfile"
	"github.com/strata-build/strata/internal/solver"
	"github.com/strata-build/strata/internal/store"
)

// namedContexts are the --build-contexts of a build. Each is opened when the first step asks for its files.
type namedContexts struct {
	store   *store.Store
	display Display
	specs   map[string]*ContextSpec
	layouts map[string]*LayoutSpec // by the names by which the plan knows their images

	mu   sync.Mutex
	open map[string]*namedFiles
}

// namedFiles are the files of a named context that somebody may be opening.
type namedFiles struct {
	once    sync.Once
	context *buildcontext.Context
	files   *solver.Files
	err     error
}

// newNamedContexts checks what can be checked of the contexts. Of two of one name the later counts.
func newNamedContexts(s *store.Store, o Options) (*namedContexts, error) {
	n := &namedContexts{
		store: s, display: o.Display, specs: map[string]*ContextSpec{}, layouts: map[string]*LayoutSpec{}, open: map[string]*namedFiles{},
	}
	for _, spec := range o.Contexts {
		if err := spec.check(); err != nil {
			return nil, fmt.Errorf("--build-context %s: %w", spec.Name, err)
		}
		if spec.Layout != nil {
			n.layouts[spec.Layout.name()] = spec.Layout
		}
		n.specs[spec.Name] = spec
	}
	return n, nil
}

// meanings are what a plan has to know of the contexts.
func (n *namedContexts) meanings() map[string]dockerfile.Named {
	all := map[string]dockerfile.Named{}
	for name, spec := range n.specs {
		m := dockerfile.Named{Image: spec.Image, Stage: spec.Stage}
		if spec.Layout != nil {
			m.Image = spec.Layout.name()
		}
		all[name] = m
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

func (n *namedContexts) load(_ context.Context, f *namedFiles, spec *ContextSpec) (err error) {
	if spec.Remote != "" {
		return fmt.Errorf("--build-context %s: %s: a context from elsewhere is not supported yet", spec.Name, spec.Remote)
	}
	done := n.display.Phase("[context " + spec.Name + "] load .dockerignore")
	defer func() { done(err) }()
	reopen := func() (*buildcontext.Context, error) { return openContext(n.store, spec.Dir, "") }
	if f.context, err = reopen(); err != nil {
		return fmt.Errorf("--build-context %s: %w", spec.Name, err)
	}
	f.files = &solver.Files{Tree: f.context, Reopen: reopen}
	return nil
}

func (n *namedContexts) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, f := range n.open {
		if f.context != nil {
			_ = f.context.Close() // its stat cache is for the next build's speed only
		}
	}
}
