package solver

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/buildcontext"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/dockerfile"
	"github.com/strata-build/strata/internal/layer"
)

// selection is what a COPY or ADD reads.
type selection struct {
	tree    layer.Tree
	matches []buildcontext.Match
	sum     digest.Digest
}

// copyOperation is a COPY or ADD. Its key holds what is written, but for the sources, and what the sources
// select: relative path, type, mode, size and contents; no times, and no owner of the host.
func (s *Solver) copyOperation(ctx context.Context, parent *State, step *dockerfile.Step) (*operation, error) {
	c := step.Copy
	sel, err := s.selectSources(ctx, step)
	if err != nil {
		return nil, err
	}
	mode, err := parseMode(c.Chmod)
	if err != nil {
		return nil, err
	}
	key := &cache.Key{Kind: "COPY"}
	if c.Add {
		key.Kind = "ADD"
	}
	key.Add("dest", c.Dest, strconv.FormatBool(c.DestDir))
	key.Add("chown", c.Chown)
	key.Add("chmod", c.Chmod)
	key.Add("content", string(sel.sum))
	return &operation{key: key, content: sel.classicName(), run: func(ctx context.Context) (digest.Digest, error) {
		below, err := parent.stack(ctx)
		if err != nil {
			return "", err
		}
		o, err := lookupOwner(below, c.Chown)
		if err != nil {
			return "", err
		}
		w := newCopier(below, o)
		w.mode = mode
		defer w.close()
		for _, m := range sel.matches {
			if err := s.copyMatch(ctx, w, sel.tree, m, c); err != nil {
				return "", err
			}
		}
		return w.commit(ctx, s.Store, s.keepEmpty())
	}}, nil
}

// parseMode reads a --chmod, which is octal.
func parseMode(text string) (*uint32, error) {
	if text == "" {
		return nil, nil
	}
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || n > 0o7777 {
		return nil, fmt.Errorf("invalid --chmod=%s: it takes an octal mode such as 0644", text)
	}
	mode := uint32(n)
	return &mode, nil
}

func (s *Solver) selectSources(ctx context.Context, step *dockerfile.Step) (*selection, error) {
	c := step.Copy
	sel := &selection{tree: s.Context}
	var from *State
	var err error
	switch {
	case c.FromStage != nil:
		from, err = s.stage(ctx, c.FromStage)
	case c.FromImage != "":
		from, err = s.image(ctx, c.FromImage)
	}
	if err != nil {
		return nil, err
	}
	if from != nil {
		if sel.tree, err = from.stack(ctx); err != nil {
			return nil, err
		}
	}
	classic := s.Engine == dockerfile.Classic
	options := buildcontext.SelectOptions{Strict: classic, AllowEmpty: !classic}
	var items []buildcontext.Item
	for _, source := range c.Sources {
		matches, err := buildcontext.Select(ctx, sel.tree, source, options)
		if err != nil {
			return nil, err
		}
		for _, m := range matches {
			sel.matches = append(sel.matches, m)
			items = append(items, m.Items...)
		}
	}
	sel.sum, err = buildcontext.Sum(ctx, sel.tree, items)
	return sel, err
}

// classicName names the contents as the classic engine's history rows do.
func (sel *selection) classicName() string {
	kind := "multi:"
	if len(sel.matches) == 1 {
		kind = "file:"
		if sel.matches[0].Dir {
			kind = "dir:"
		}
	}
	return kind + sel.sum.Encoded()
}

// copyMatch copies one of the things that the sources selected.
func (s *Solver) copyMatch(ctx context.Context, w *copier, t layer.Tree, m buildcontext.Match, c *dockerfile.Copy) error {
	dest, err := w.resolve(c.Dest)
	if err != nil {
		return err
	}
	if c.Add && !m.Dir {
		archive, err := s.openArchive(ctx, t, m.Items[0].Entry)
		if err != nil {
			return err
		}
		if archive != nil {
			w.archives = append(w.archives, archive)
			return w.unpack(archive, dest)
		}
	}
	if m.Dir {
		if err := w.makeDirs(dest, 0o755); err != nil {
			return err
		}
		return w.putItems(t, m.Items, dest)
	}
	there, err := w.lookup(dest)
	if err != nil {
		return err
	}
	if c.DestDir || there != nil && there.Type == layer.Dir {
		dest = path.Join(dest, m.Name)
	}
	if err := w.makeDirs(layer.Parent(dest), 0o755); err != nil {
		return err
	}
	return w.put(t, m.Items[0].Entry, dest)
}

func (c *copier) putItems(t layer.Tree, items []buildcontext.Item, dest string) error {
	for _, it := range items {
		target := path.Join(dest, it.Target)
		if err := c.put(t, it.Entry, target); err != nil {
			return err
		}
		if it.Link == "" {
			continue
		}
		e := c.entries[target]
		e.Type, e.Link, e.Size, e.Digest, e.Xattrs = layer.Hardlink, path.Join(dest, it.Link), 0, "", nil
		delete(c.sources, target)
	}
	return nil
}

// archive is a local archive that ADD unpacks: its decompressed tar, as a tree.
type archive struct {
	tree *layer.Stack
	dir  string
}

// openArchive opens a file that is an archive: a tar, plain or compressed, whose first header is sound
// (Dockerfile reference, "Adding local tar archives"). nil if it is none.
func (s *Solver) openArchive(ctx context.Context, t layer.Tree, e *layer.Entry) (_ *archive, err error) {
	if e.Type != layer.File || e.Size == 0 {
		return nil, nil
	}
	if ok, err := isArchive(t, e); err != nil || !ok {
		return nil, err
	}
	failed := func(err error) (*archive, error) {
		return nil, fmt.Errorf("unpacking %s: %w; if it should be copied as it is, use COPY", e.Path, err)
	}
	dir, err := s.Store.Temp("add")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	name := filepath.Join(dir, "tar")
	if err := decompressTo(t, e, name); err != nil {
		return failed(err)
	}
	f, err := os.Open(name)
	if err != nil {
		return failed(err)
	}
	defer f.Close()
	toc, err := layer.Scan(ctx, f)
	if err != nil {
		return failed(err)
	}
	return &archive{layer.NewStack(layer.TarSource(name, toc)), dir}, nil
}

func isArchive(t layer.Tree, e *layer.Entry) (bool, error) {
	f, err := t.Open(e)
	if err != nil {
		return false, err
	}
	defer f.Close()
	z, err := layer.Decompress(f)
	if err != nil {
		return false, nil
	}
	defer z.Close()
	_, err = tar.NewReader(z).Next()
	return err == nil, nil
}

func decompressTo(t layer.Tree, e *layer.Entry, name string) error {
	f, err := t.Open(e)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := layer.Decompress(f)
	if err != nil {
		return err
	}
	defer z.Close()
	out, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, z)
	return errors.Join(err, out.Close())
}

// unpack copies what an archive holds below dest.
func (c *copier) unpack(a *archive, dest string) error {
	if err := c.makeDirs(dest, 0o755); err != nil {
		return err
	}
	return c.putBelow(a.tree, "", dest)
}

func (c *copier) putBelow(t layer.Tree, dir, dest string) error {
	entries, err := t.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		target := path.Join(dest, path.Base(e.Path))
		if err := c.put(t, e, target); err != nil {
			return err
		}
		if e.Type == layer.Dir {
			if err := c.putBelow(t, e.Path, target); err != nil {
				return err
			}
		}
	}
	return nil
}
