package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/strata-build/strata/internal/builder/source/address"
	"github.com/strata-build/strata/internal/builder/source/buildcontext"
	"github.com/strata-build/strata/internal/builder/source/remote"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/transfer"
)

// Definition says which files of a remote source are read.
type Definition struct {
	URL   string
	Names []string
	// Sandbox has the secrets and the ssh agents with which a git repository may be read.
	Sandbox Sandbox
}

// RemoteFiles reads files of what a URL names: a git repository, a tar, or the file itself, which is all that there is
// then and is called as the URL says. A name that is not there is left out.
func RemoteFiles(ctx context.Context, m *transfer.Mover, events event.Sink, d Definition) (map[string][]byte, error) {
	source, err := address.ParseContext(d.URL)
	if err == nil && source == nil {
		err = errors.New("it is no URL and no git repository")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address.Redact(d.URL), err)
	}
	if err := m.Store.Begin(); err != nil {
		return nil, err
	}
	b := &build{Request: &Request{Source: Source{Context: d.URL}, Sandbox: d.Sandbox}, mover: m, store: m.Store, events: event.OrDiscard(events)}
	b.fetcher = b.newFetcher()
	defer b.fetcher.Close()
	p := b.beginPhase("load definition from " + source.String())
	files, err := b.remoteFiles(ctx, source, d.Names)
	p.end(err)
	return files, err
}

func (b *build) remoteFiles(ctx context.Context, source *address.Source, names []string) (map[string][]byte, error) {
	dir, c, err := layRemote(ctx, b.store, b.fetcher, source, remote.ContextOptions{})
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if c.Dockerfile != "" { // a server's file that is no tar
		data, err := os.ReadFile(filepath.Join(dir, c.Dockerfile))
		return map[string][]byte{address.FileName(source.URL): data}, err
	}
	tree, err := buildcontext.Open(dir, buildcontext.Options{})
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	files := map[string][]byte{}
	for _, name := range names {
		data, err := tree.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		files[name] = data
	}
	return files, nil
}
