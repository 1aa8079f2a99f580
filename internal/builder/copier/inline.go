package copier

import (
	"context"
	"io"
	"io/fs"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/selection"
)

// inlineTree holds the here-documents of a COPY or ADD as files, by their names.
type inlineTree map[string]string

// copyInline copies the here-documents, which come after all other sources.
func (k *Copier) copyInline(ctx context.Context, w *Draft, c *dockerfile.Copy) error {
	plain := *c
	plain.Unpack = false
	for _, file := range c.Inline {
		tree := inlineTree{file.Name: file.Data}
		e := tree.entry(file.Name, w.now)
		match := selection.Match{Path: file.Name, Name: file.Name, Entry: e}
		if err := k.copyMatch(ctx, w, tree, match, &plain); err != nil {
			return err
		}
	}
	return nil
}

func (t inlineTree) entry(name string, now int64) *layer.Entry {
	return &layer.Entry{
		Path: name, Type: layer.File, Mode: 0o644, Size: int64(len(t[name])), Digest: digest.FromString(t[name]), ModTime: now,
	}
}

// Capabilities, Lookup, ReadDir, Sum and Open make it a layer.Tree.
func (t inlineTree) Capabilities() layer.Capabilities { return layer.Capabilities{} }

func (t inlineTree) Lookup(_ context.Context, path string) (*layer.Entry, error) {
	if _, ok := t[path]; !ok {
		return nil, &fs.PathError{Op: "lookup", Path: path, Err: fs.ErrNotExist}
	}
	return t.entry(path, 0), nil
}

func (t inlineTree) ReadDir(_ context.Context, path string) ([]*layer.Entry, error) {
	return nil, &fs.PathError{Op: "readdir", Path: path, Err: fs.ErrNotExist}
}

func (t inlineTree) Sum(context.Context, []*layer.Entry) error { return nil }

func (t inlineTree) Open(_ context.Context, e *layer.Entry) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(t[e.Path])), nil
}
