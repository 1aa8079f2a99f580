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
)

// readStream reads what `strata build -` is given: a tar, which is the context, or a Dockerfile, which has none.
func (b *build) readStream(ctx context.Context) (*input, error) {
	kind, r, err := buildcontext.Detect(b.Source.Stdin)
	if err != nil {
		return nil, err
	}
	if kind == buildcontext.Tar {
		return b.readTar(ctx, r, onStdin)
	}
	if b.Source.Dockerfile != "" {
		return nil, fmt.Errorf("there are two Dockerfiles, %s and one on standard input; leave out -f, or name a directory as context instead of -", b.Source.Dockerfile)
	}
	dir, err := b.store.Temp("context")
	if err != nil {
		return nil, err
	}
	in := &input{remove: dir}
	d, err := b.loadDefinition(ctx, onStdin, func() (*definition, error) { return readStdin(r) })
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
func (b *build) readTarFile(ctx context.Context) (*input, error) {
	file, err := os.Open(b.Source.Context)
	if err != nil {
		return nil, fmt.Errorf("opening the build context: %w", err)
	}
	defer file.Close()
	kind, r, err := buildcontext.Detect(file)
	if err != nil {
		return nil, fmt.Errorf("opening the build context: %w", err)
	}
	if kind != buildcontext.Tar {
		return nil, fmt.Errorf("opening the build context: %s is not a directory, and no tar either; give the directory, and the Dockerfile with -f", b.Source.Context)
	}
	return b.readTar(ctx, r, b.Source.Context)
}

// readTar reads a context that is a tar, plain or compressed. what names it.
func (b *build) readTar(ctx context.Context, r io.Reader, what string) (*input, error) {
	dir, err := b.store.Temp("context")
	if err != nil {
		return nil, err
	}
	p := b.beginPhase("load build context from " + what)
	err = buildcontext.Unpack(ctx, r, dir, b.store.Limits().On(b.store.Root()))
	p.end(err)
	if err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("reading %s: %w", what, err)
	}
	return b.readLaid(ctx, dir, "", "the tar")
}

// readLaid reads the Dockerfile of a context that was laid out in a temporary directory, which is the input's from now
// on. -f is a path in it, or the absolute path of a file on this machine. Without -f it is name; if that is "" too,
// the first of defaultNames. what names the context.
func (b *build) readLaid(ctx context.Context, dir, name, what string) (_ *input, err error) {
	in := &input{remove: dir}
	defer func() {
		if err != nil {
			in.close()
		}
	}()
	switch {
	case name != "":
	case b.Source.Dockerfile != "":
		name = b.Source.Dockerfile
	default:
		name = defaultName(dir)
	}
	d, err := b.loadDefinition(ctx, name, func() (*definition, error) {
		if filepath.IsAbs(name) && exists(name) {
			return readDockerfile(ctx, name)
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
		return nil, fmt.Errorf("reading the Dockerfile, %s: %w", name, err)
	}
	return &definition{name: name, path: filepath.Join(dir, inside), source: data}, nil
}
