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
	"strings"

	"github.com/strata-build/strata/internal/layer"
)

// archive is a local archive that ADD unpacks: its decompressed tar.
type archive struct {
	table    *layer.Assembled // nil when it is unpacked
	contents contents
	byOffset bool // contents are found by the offsets of the table's entries, not by their paths
	dir      string
}

// tarContents are what the files of a tar hold, by their offsets.
type tarContents struct{ layer.Source }

// Sum implements contents: the digests are there.
func (tarContents) Sum(_ context.Context, entries []*layer.Entry) error {
	for _, e := range entries {
		if e.Type == layer.File && e.Digest == "" {
			return fmt.Errorf("the archive's table of contents gives no digest of %s", e.Path)
		}
	}
	return nil
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
	a := &archive{dir: dir, byOffset: true}
	if a.table, err = layer.Scan(ctx, f, limits); err != nil {
		return failed(err)
	}
	a.contents = tarContents{layer.TarSource(name, nil)}
	if a.table.Sparse() {
		// A sparse file is not in one piece in the tar.
		source, err := layOut(ctx, f, filepath.Join(dir, "fs"), limits)
		if err != nil {
			return failed(err)
		}
		a.contents, a.byOffset = layer.NewStack(source), false
	}
	return a, nil
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

// unreadable says that a file has the first bytes of a compression that cannot be read: it may be an archive, so it is
// not copied as it is.
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
	w.startBulk(a.contents, dest)
	if w.bulk != nil {
		w.bulk.byOffset, w.bulk.known = a.byOffset, true
	}
	p := &unpacking{w, a, dest, map[string]string{}}
	for e, named := range a.table.Named() {
		if e.Path == "" || e.Type == layer.Whiteout {
			continue
		}
		if err := p.entry(ctx, e, named); err != nil {
			return err
		}
	}
	if w.bulk != nil {
		w.bulk.open = false
	}
	a.table = nil
	return nil
}

// unpacking is an archive on its way into a draft.
type unpacking struct {
	*Draft
	from *archive
	dest string
	led  map[string]string // directories of the archive that lead somewhere else than their names say
}

// target is where something of the archive goes.
func (p *unpacking) target(name string) string {
	if len(p.led) > 0 {
		for dir := name; dir != ""; dir = layer.Parent(dir) {
			if to, ok := p.led[dir]; ok {
				return strings.TrimPrefix(path.Join(to, name[len(dir):]), "/")
			}
		}
	}
	return path.Join(p.dest, name)
}

// entry unpacks an entry.
func (p *unpacking) entry(ctx context.Context, e *layer.Entry, named layer.Naming) error {
	target := path.Join(p.target(layer.Parent(e.Path)), path.Base(e.Path))
	if e.Type == layer.Dir && named == layer.Implied {
		there, err := p.throughDir(ctx, target)
		if err == nil && there != target {
			p.led[e.Path] = there
		}
		if !errors.Is(err, errNoDir) {
			return err
		}
	}
	if err := p.inDir(ctx, e, target); err != nil {
		return err
	}
	if named == layer.Anew {
		if err := p.clear(ctx, target); err != nil {
			return err
		}
	}
	if e.Type != layer.Hardlink && p.bulk != nil {
		return p.put(ctx, p.from.contents, e, target)
	}
	if e.Type != layer.Hardlink {
		kept := *e
		return p.put(ctx, p.from.contents, &kept, target)
	}
	linked := *e
	linked.Link = p.target(e.Link)
	if p.bulk != nil && (p.below.lacks[p.dest] || p.below.isNothing()) {
		return p.put(ctx, p.from.contents, &linked, target)
	}
	if err := p.loosen(); err != nil { // a hard link may be below already
		return err
	}
	switch file := p.entries[linked.Link]; {
	case linked.Link == target: // a symbolic link leads both to one place
		return nil
	case file == nil || file.Type == layer.Dir:
		return fmt.Errorf("unpacking /%s: it is a hard link to /%s, which something else in the archive has replaced: %s", target, linked.Link, sameTwice)
	}
	linked.Type = layer.File
	if err := p.put(ctx, p.from.contents, &linked, target); err != nil {
		return err
	}
	p.link(target, linked.Link)
	return nil
}

// clear replaces what a path has: the archive had something else there, before a directory.
func (p *unpacking) clear(ctx context.Context, target string) error {
	if e, err := p.lookup(ctx, target); e == nil || e.Type != layer.Dir || err != nil {
		return err
	}
	if err := p.loosen(); err != nil { // the path has two entries
		return err
	}
	return p.put(ctx, p.from.contents, &layer.Entry{Type: layer.Fifo}, target)
}

// sameTwice says how an archive can be at odds with itself, which no tool unpacks, and what to do about it.
const sameTwice = "a symbolic link of the image leads one part of the archive into another; pack it with the path that the link leads to"

// inDir makes sure that the directory that something goes to is still one, where links have led elsewhere.
func (p *unpacking) inDir(ctx context.Context, e *layer.Entry, target string) error {
	dir := layer.Parent(target)
	if len(p.led) == 0 || dir == "" {
		return nil
	}
	in, err := p.lookup(ctx, dir)
	if err == nil && (in == nil || in.Type != layer.Dir) {
		err = fmt.Errorf("unpacking %s: something else in the archive has replaced the directory /%s: %s", e.Path, dir, sameTwice)
	}
	return err
}

var errNoDir = errors.New("the path leads to no directory")

// throughDir is the directory that a path leads to at this point, at which the archive has put something before; its
// parent is one. errNoDir if it leads to none: then what is there will be replaced.
func (p *unpacking) throughDir(ctx context.Context, name string) (string, error) {
	switch e, err := p.lookup(ctx, name); {
	case err != nil:
		return "", err
	case e != nil && e.Type == layer.Dir:
		return name, nil
	case e == nil || e.Type != layer.Symlink:
		return "", errNoDir
	}
	if err := p.loosen(); err != nil { // it may lead to what the bulk has, and what comes next is not in order
		return "", err
	}
	at, err := layer.Follow(name, func(at, _ string) (string, error) {
		e, err := p.lookup(ctx, at)
		switch {
		case err != nil:
			return "", err
		case e != nil && e.Type == layer.Symlink:
			return e.Link, nil
		case e == nil || e.Type != layer.Dir:
			return "", errNoDir
		}
		return "", nil
	})
	if links := (*layer.LinksError)(nil); errors.As(err, &links) {
		return "", errNoDir
	}
	return at, err
}
