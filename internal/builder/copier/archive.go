package copier

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/strata-build/strata/internal/layer"
)

// archive is a local archive that ADD unpacks: its decompressed tar, as a tree.
type archive struct {
	toc  *layer.TOC
	tree *layer.Stack
	dir  string
	// named are the directories that the archive itself names; the others are only on the way of something.
	named map[string]bool
}

// openArchive opens a file that is an archive: a tar, plain or compressed, whose first header is sound
// (Dockerfile reference, "Adding local tar archives"). nil if it is none.
func (k *Copier) openArchive(ctx context.Context, t layer.Tree, e *layer.Entry) (_ *archive, err error) {
	if e.Type != layer.File || e.Size == 0 {
		return nil, nil
	}
	if ok, err := isArchive(ctx, t, e, k.store.Limits()); err != nil || !ok {
		return nil, err
	}
	failed := func(err error) (*archive, error) {
		return nil, fmt.Errorf("unpacking %s: %w; if it should be copied as it is, use COPY", e.Path, err)
	}
	dir, err := k.store.Temp("add")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	name, limits := filepath.Join(dir, "tar"), k.store.Limits().On(k.store.Root())
	if err := decompressTo(ctx, t, e, name, limits); err != nil {
		return failed(err)
	}
	f, err := os.Open(name)
	if err != nil {
		return failed(err)
	}
	defer f.Close()
	scanned, err := layer.Scan(ctx, f, limits)
	if err != nil {
		return failed(err)
	}
	toc, err := scanned.TOC()
	if err != nil {
		return failed(err)
	}
	named, err := namedDirs(f)
	if err != nil {
		return failed(err)
	}
	source := layer.TarSource(name, toc)
	if slices.ContainsFunc(toc.Entries, func(e *layer.Entry) bool { return e.Offset < 0 }) {
		// A sparse file is not in one piece in the tar.
		if source, err = layOut(ctx, f, filepath.Join(dir, "fs"), limits); err != nil {
			return failed(err)
		}
	}
	return &archive{toc, layer.NewStack(source), dir, named}, nil
}

func isArchive(ctx context.Context, t layer.Tree, e *layer.Entry, l layer.Limits) (bool, error) {
	f, err := t.Open(ctx, e)
	if err != nil {
		return false, err
	}
	defer f.Close()
	b := bufio.NewReader(f)
	head, err := b.Peek(layer.DetectLen)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	z, err := layer.Decompress(b, l)
	if err != nil {
		return false, unreadable(layer.Detect(head), e, err)
	}
	defer z.Close()
	plain := bufio.NewReader(z)
	if _, err := plain.Peek(layer.TarBlock); err != nil && !errors.Is(err, io.EOF) {
		return false, unreadable(layer.Detect(head), e, err)
	}
	_, err = tar.NewReader(plain).Next()
	return err == nil, nil
}

// unreadable says that a file has the first bytes of a compression that cannot be read: it may be an archive, so it is not
// copied as it is.
func unreadable(c layer.Compression, e *layer.Entry, err error) error {
	if c == layer.None {
		return err
	}
	return fmt.Errorf("%s begins like %s and cannot be unpacked: %w; if it should be copied as it is, use COPY", e.Path, c, err)
}

func decompressTo(ctx context.Context, t layer.Tree, e *layer.Entry, name string, l layer.Limits) error {
	f, err := t.Open(ctx, e)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := layer.Decompress(f, l)
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

// layOut unpacks a tar into a new directory.
func layOut(ctx context.Context, f *os.File, dir string, l layer.Limits) (layer.Source, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	toc, err := layer.Unpack(ctx, f, dir, layer.UnpackOptions{Limits: l})
	if err != nil {
		return nil, err
	}
	return layer.TreeSource(dir, toc), nil
}

// namedDirs are the directories that a tar has headers for.
func namedDirs(f *os.File) (map[string]bool, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	named := map[string]bool{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return named, nil
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeDir {
			named[strings.Trim(path.Clean("/"+h.Name), "/")] = true
		}
	}
}

// unpack copies what an archive holds below dest, as Docker's archive.Untar does: a directory merges with one
// that is there, and everything else takes the place of what is there, whatever that is. Directories that the
// archive does not name are gone through as they are, symbolic links to directories too. --chmod does not
// concern what is unpacked.
func (w *Draft) unpack(ctx context.Context, a *archive, dest string) error {
	mode, noXattrs := w.mode, w.noXattrs
	w.mode, w.replace, w.noXattrs = nil, true, false // what an archive says of its files is not the host's affair
	defer func() { w.mode, w.replace, w.noXattrs = mode, false, noXattrs }()
	if err := w.makeDirs(ctx, dest, 0o755); err != nil {
		return err
	}
	targets := map[string]string{"": dest} // of the archive's directories
	for _, e := range a.toc.Entries {
		if e.Path == "" || e.Type == layer.Whiteout {
			continue
		}
		target := path.Join(targets[layer.Parent(e.Path)], path.Base(e.Path))
		if e.Type == layer.Dir && !a.named[e.Path] {
			there, err := w.throughDir(ctx, target)
			if err != nil {
				return err
			}
			if there != "" {
				targets[e.Path] = there
				continue
			}
		}
		if e.Type == layer.Dir {
			targets[e.Path] = target
		}
		link := ""
		if e.Type == layer.Hardlink {
			link = path.Join(targets[layer.Parent(e.Link)], path.Base(e.Link))
			e = a.toc.Lookup(e.Link)
		}
		if err := w.put(ctx, a.tree, e, target); err != nil {
			return err
		}
		if link != "" {
			w.link(target, link)
		}
	}
	return nil
}

// throughDir is the directory that a path leads to at this point; "" if it leads to none.
func (w *Draft) throughDir(ctx context.Context, name string) (string, error) {
	if e := w.entries[name]; e != nil {
		if e.Type == layer.Dir {
			return name, nil
		}
		return "", nil
	}
	at, err := w.resolve(ctx, name)
	if err != nil {
		return "", nil // it leads through something that is no directory, and will be replaced
	}
	e, err := w.lookup(ctx, at)
	if err != nil || e == nil || e.Type != layer.Dir {
		return "", err
	}
	return at, nil
}
