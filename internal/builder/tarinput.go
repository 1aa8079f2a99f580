package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/strata-build/strata/internal/builder/source/buildcontext"
	"github.com/strata-build/strata/internal/builder/source/remote"
	"github.com/strata-build/strata/internal/store"
)

// readStream reads what `strata build -` is given: a tar, which is the context, or a Dockerfile, which has none.
func readStream(ctx context.Context, s *store.Store, f *remote.Fetcher, o Options) (*input, error) {
	kind, r, err := buildcontext.Detect(o.Stdin)
	if err != nil {
		return nil, err
	}
	if kind == buildcontext.Tar {
		return readTar(ctx, s, f, r, onStdin, o)
	}
	if o.Dockerfile != "" {
		return nil, fmt.Errorf("there are two Dockerfiles, %s and one on standard input; leave out -f, or name a directory as context instead of -", o.Dockerfile)
	}
	dir, err := s.Temp("context")
	if err != nil {
		return nil, err
	}
	in := &input{remove: dir}
	d, err := loadDefinition(ctx, f, onStdin, o, func() (*definition, error) { return readStdin(r) })
	if err == nil {
		in.define(d)
		in.context, err = buildcontext.Open(dir, buildcontext.Options{})
	}
	if err != nil {
		in.close()
		return nil, err
	}
	return in, nil
}

// readTarFile reads a context that is a tar on this machine.
func readTarFile(ctx context.Context, s *store.Store, f *remote.Fetcher, o Options) (*input, error) {
	file, err := os.Open(o.Context)
	if err != nil {
		return nil, fmt.Errorf("opening the build context: %w", err)
	}
	defer file.Close()
	kind, r, err := buildcontext.Detect(file)
	if err != nil {
		return nil, fmt.Errorf("opening the build context: %w", err)
	}
	if kind != buildcontext.Tar {
		return nil, fmt.Errorf("opening the build context: %s is not a directory, and no tar either; give the directory, and the Dockerfile with -f", o.Context)
	}
	return readTar(ctx, s, f, r, o.Context, o)
}

// readTar reads a context that is a tar, plain or compressed. what names it.
func readTar(ctx context.Context, s *store.Store, f *remote.Fetcher, r io.Reader, what string, o Options) (*input, error) {
	dir, err := s.Temp("context")
	if err != nil {
		return nil, err
	}
	p := beginPhase(o.Events, "load build context from "+what)
	err = buildcontext.Unpack(ctx, r, dir)
	p.end(err)
	if err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("reading %s: %w", what, err)
	}
	return readLaid(ctx, f, dir, "", "the tar", o)
}

// readLaid reads the Dockerfile of a context that was laid out in a temporary directory, which is the input's from now
// on. -f is a path in it, or the absolute path of a file on this machine. Without -f it is name; if that is "" too,
// Dockerfile or dockerfile. what names the context.
func readLaid(ctx context.Context, f *remote.Fetcher, dir, name, what string, o Options) (_ *input, err error) {
	in := &input{remove: dir}
	defer func() {
		if err != nil {
			in.close()
		}
	}()
	switch {
	case name != "":
	case o.Dockerfile != "":
		name = o.Dockerfile
	case !exists(filepath.Join(dir, "Dockerfile")) && exists(filepath.Join(dir, "dockerfile")):
		name = "dockerfile"
	default:
		name = "Dockerfile"
	}
	d, err := loadDefinition(ctx, f, name, o, func() (*definition, error) {
		if filepath.IsAbs(name) && exists(name) {
			return readDockerfile(name)
		}
		return readInside(dir, name, what)
	})
	if err != nil {
		return nil, err
	}
	in.define(d)
	in.context, err = buildcontext.Open(dir, buildcontext.Options{Dockerfile: d.path})
	return in, err
}

// readInside reads a Dockerfile in a directory that came from elsewhere, which no symlink of it leads out of.
func readInside(dir, name, what string) (*definition, error) {
	inside := strings.TrimPrefix(filepath.Clean("/"+name), "/")
	c, err := buildcontext.Open(dir, buildcontext.Options{})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	data, err := c.ReadFile(inside)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no Dockerfile: %s has no %s; name another with -f", what, name)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the Dockerfile %s: %w", name, err)
	}
	return &definition{name: name, path: filepath.Join(dir, inside), source: data}, nil
}
