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

	"github.com/strata-build/strata/internal/builder/source/address"
	"github.com/strata-build/strata/internal/builder/source/remote"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/human/suggest"
	"github.com/strata-build/strata/internal/store/disk"
)

// definition is the Dockerfile of a build.
type definition struct {
	name   string // for messages: the path as it was given
	path   string // of the file, beside which its own .dockerignore may be; "" if it came without a directory
	source []byte
	vertex *event.Vertex // of its reading
}

// maxDockerfile is more than package dockerfile takes, so that it can say that there is too much.
const maxDockerfile = 2 << 20

// onStdin names a Dockerfile that comes from standard input.
const onStdin = "standard input"

// isURL says that -f names a file that a server has.
func isURL(path string) bool {
	return strings.HasPrefix(path, "http://") || strings.HasPrefix(path, "https://")
}

// loadDefinition reads the Dockerfile that -f names, wherever the context is: from standard input for "-", from a server
// for a URL, else with read. name is what it is shown as.
func (b *build) loadDefinition(ctx context.Context, name string, read func() (*definition, error)) (d *definition, err error) {
	switch {
	case b.Source.Dockerfile == "-":
		name = onStdin
		read = func() (*definition, error) { return readStdin(b.Source.Stdin) }
	case isURL(b.Source.Dockerfile):
		name = address.Redact(b.Source.Dockerfile)
		read = func() (*definition, error) { return fetchDefinition(ctx, b.fetcher, b.Source.Dockerfile) }
	}
	p := b.beginPhase("load build definition from " + name)
	defer func() { p.end(err) }()
	if d, err = read(); err == nil {
		d.vertex = p.vertex
	}
	return d, err
}

func readStdin(r io.Reader) (*definition, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxDockerfile))
	if err != nil {
		return nil, fmt.Errorf("reading the Dockerfile from standard input: %w", err)
	}
	return &definition{name: onStdin, source: data}, nil
}

func fetchDefinition(ctx context.Context, f *remote.Fetcher, url string) (*definition, error) {
	file, err := f.File(ctx, url, "")
	if err != nil {
		return nil, fmt.Errorf("reading the Dockerfile: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(file.Reader(), maxDockerfile))
	if err != nil {
		return nil, fmt.Errorf("reading the Dockerfile: %w", err)
	}
	return &definition{name: address.FileName(url), source: data}, nil
}

// readDockerfile reads a Dockerfile of this machine.
func readDockerfile(ctx context.Context, path string) (*definition, error) {
	f, err := disk.OpenFile(ctx, path)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no Dockerfile: %s does not exist%s; write one there, or name another with -f", path, nearFile(path))
	}
	if err != nil {
		return nil, fmt.Errorf("reading the Dockerfile: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxDockerfile))
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the Dockerfile: %w; name a file with -f", err)
	}
	return &definition{name: path, path: path, source: data}, nil
}

// findDockerfile gives the path of the Dockerfile of a context that is a directory, "-" for standard input. -f is
// relative to where one is, as in Docker; where nothing is there, relative to the context. Without -f it is the first of
// defaultNames that is there.
func findDockerfile(s *Source) string {
	path := s.Dockerfile
	switch {
	case path == "":
		return filepath.Join(s.Context, defaultName(s.Context))
	case path == "-" || isURL(path) || filepath.IsAbs(path):
		return path
	}
	if inside := filepath.Join(s.Context, path); !exists(path) && exists(inside) {
		return inside
	}
	return path
}

// DockerfilePath is the path of the Dockerfile of a context that is a directory, "" if it is no file of this machine.
func (s Source) DockerfilePath() string {
	if path := findDockerfile(&s); path != "-" && !isURL(path) {
		return path
	}
	return ""
}

// defaultNames are what a Dockerfile is called where -f names none: docker's name, that of older versions, and that of
// podman and buildah.
var defaultNames = []string{"Dockerfile", "dockerfile", "Containerfile"}

// defaultName is the first of defaultNames that is in a directory, or Dockerfile.
func defaultName(dir string) string {
	for _, name := range defaultNames {
		if exists(filepath.Join(dir, name)) {
			return name
		}
	}
	return defaultNames[0]
}

// nearFile asks whether the file beside a missing one was meant whose name is like it.
func nearFile(path string) string {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return ""
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return suggest.DidYouMean(filepath.Base(path), names)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
