// Package copyout copies files and directories out of the merged view of an image, to this machine or as a tar, by the
// rules of docker cp (docs.docker.com/reference/cli/docker/container/cp).
package copyout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/strata-build/strata/internal/layer"
)

// Source is what is copied: a path of an image.
type Source struct {
	stack    *layer.Stack
	entry    *layer.Entry
	name     string // that it has in the tar, and in a directory that it is copied into
	contents bool   // only what is in it, as for a path that ends in "/."
}

// Find finds a path, absolute or relative to the root. Links on the way are followed as in a container; that the path itself
// is one counts if follow is set or the path ends in a slash. Its error is fs.ErrNotExist where nothing is there.
func Find(ctx context.Context, stack *layer.Stack, name string, follow bool) (*Source, error) {
	clean := path.Clean("/" + name)
	s := &Source{stack: stack, name: path.Base(clean), contents: name == "." || strings.HasSuffix(name, "/.")}
	asDirectory := s.contents || strings.HasSuffix(name, "/")
	parent, _, err := stack.Resolve(ctx, strings.TrimPrefix(path.Dir(clean), "/"))
	if err != nil {
		return nil, err
	}
	if clean == "/" {
		s.name, s.contents = "", true
	}
	if s.entry, err = stack.Lookup(ctx, strings.TrimPrefix(path.Join("/", parent, s.name), "/")); err != nil {
		return nil, err
	}
	if s.entry.Type == layer.Symlink && (follow || asDirectory) {
		if _, s.entry, err = stack.Resolve(ctx, s.entry.Path); err != nil {
			return nil, err
		}
	}
	if asDirectory && s.entry.Type != layer.Dir {
		return nil, fmt.Errorf("%s is not a directory; leave the slash at its end out", name)
	}
	return s, nil
}

// entries are the source and all that is in it, under the names that they have below base.
func (s *Source) each(ctx context.Context, base string, fn func(name string, e *layer.Entry) error) error {
	return s.stack.Walk(ctx, s.entry.Path, func(e *layer.Entry) error {
		return fn(path.Join(base, strings.TrimPrefix(e.Path, s.entry.Path)), e)
	})
}

// WriteTar writes the source as a tar, under its name.
func (s *Source) WriteTar(ctx context.Context, w io.Writer) error {
	base := s.name
	if s.contents {
		base = ""
	}
	var entries []*layer.Entry
	origin := map[string]*layer.Entry{}
	err := s.each(ctx, base, func(name string, e *layer.Entry) error {
		renamed := *e
		renamed.Path = strings.TrimPrefix(name, "/")
		entries = append(entries, &renamed)
		origin[renamed.Path] = e
		return nil
	})
	if err != nil {
		return err
	}
	t, err := layer.NewTOC(entries)
	if err != nil {
		return err
	}
	return layer.WriteTar(ctx, w, t, func(ctx context.Context, e *layer.Entry) (io.ReadCloser, error) {
		return s.stack.Open(ctx, origin[e.Path])
	})
}

// CopyTo copies the source to a path of this machine: into it where it is a directory, else under that name, whose
// directory has to be there. Files belong to whoever calls, or with owners to whom they belong in the image.
func (s *Source) CopyTo(ctx context.Context, dest string, owners bool) error {
	dir, name, err := s.place(dest)
	if err != nil {
		return err
	}
	// Nothing is written through a link that leads out of the directory, whatever the image's files are called.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("copying to %s: %w", dest, err)
	}
	defer root.Close()
	w := writer{root: root, stack: s.stack, owners: owners}
	err = s.each(ctx, name, func(name string, e *layer.Entry) error {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := w.write(ctx, path.Join(".", name), e); err != nil {
			return fmt.Errorf("copying %s to %s: %w", e.Path, dest, err)
		}
		return nil
	})
	return errors.Join(err, w.finish())
}

// place is the directory that is written to and the name in it, "" for the directory itself.
func (s *Source) place(dest string) (dir, name string, err error) {
	st, err := os.Stat(dest)
	switch {
	case err == nil && st.IsDir() && s.contents:
		return dest, "", nil
	case err == nil && st.IsDir():
		return dest, s.name, nil
	case err == nil && s.entry.Type == layer.Dir:
		return "", "", fmt.Errorf("%s is a file: a directory cannot take its place", dest)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", "", err
	case err != nil && strings.HasSuffix(dest, "/") && s.entry.Type != layer.Dir:
		return "", "", fmt.Errorf("%s: there is no such directory; make it first", dest)
	}
	parent := filepath.Dir(filepath.Clean(dest))
	if st, err := os.Stat(parent); err != nil || !st.IsDir() {
		return "", "", fmt.Errorf("%s: there is no directory %s; make it first", dest, parent)
	}
	return parent, filepath.Base(filepath.Clean(dest)), nil
}
