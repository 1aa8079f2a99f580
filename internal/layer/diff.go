package layer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer/identity"
)

// Diff is the TOC of an overlayfs upper directory, which must not change meanwhile. Nothing is
// followed: every path is opened from its directory without symbolic links.
//
// What overlayfs wrote for its own sake is taken out, so that equal changes give equal content IDs:
// a whiteout that hides nothing of below, an opaque mark where below has no directory with anything
// in it, attributes other than security.capability (see Built), the root where only its time
// differs, and what was copied up unchanged (see WithoutUnchanged). Sockets
// are left out, as a tar has no place for them. below may be nil: then all of upper is new, the
// root too.
func Diff(ctx context.Context, upper string, below Tree) (*TOC, error) {
	t, root, err := walkUpper(ctx, upper, below, DiffOptions{})
	if err != nil {
		return nil, err
	}
	defer unix.Close(root)
	open := func(_ context.Context, e *Entry) (io.ReadCloser, error) { return openFileBeneath(root, e.Path) }
	if err := sumFiles(ctx, t.Entries, open); err != nil {
		return nil, fmt.Errorf("reading changes in %s: %w", upper, err)
	}
	return t, nil
}

// DiffOptions say what is in the layer of an upper directory.
type DiffOptions struct {
	// KeepFiles keeps files that are the same below, for a layer that may come to lie on another state: a step can
	// write a file that it never looked at.
	KeepFiles bool
	// Owners are those of files that can have no note of it beside them; nil where the disk has all.
	Owners *identity.Ledger
}

// DiffTree is Diff with the layer's tar, for which the files are read only once. No tar is written. What was copied up
// unchanged is removed from upper, which becomes the layer's tree.
func DiffTree(ctx context.Context, upper string, below Tree, o DiffOptions) (*Tar, error) {
	root, err := openRoot(upper)
	if err != nil {
		return nil, fmt.Errorf("reading changes: %w", err)
	}
	defer unix.Close(root)
	temp := TempFile(filepath.Dir(upper))
	t, unchanged, err := upperTable(ctx, root, below, o, temp)
	if err != nil {
		return nil, fmt.Errorf("reading changes in %s: %w", upper, err)
	}
	var large []string
	for e := range t.All() {
		if e.Type == File && e.Size >= largeFile {
			large = append(large, e.Path)
		}
	}
	open := func(_ context.Context, e *Entry) (io.ReadCloser, error) { return openFileBeneath(root, e.Path) }
	began := make(chan struct{})
	go func() {
		beginWriting(ctx, large, root)
		close(began)
	}()
	made, err := hashEncoded(ctx, t, NewEncoded(temp), open)
	<-began // it uses root
	if err != nil {
		return nil, fmt.Errorf("reading changes in %s: %w", upper, err)
	}
	if err := removeUnchanged(root, unchanged); err != nil {
		return nil, fmt.Errorf("removing what was not changed from %s: %w", upper, err)
	}
	return made, nil
}

// upperTable gives the entries of an upper directory without digests, and what of it is the same below. In the order of
// the walk they are in the canonical one, so they stay encoded, unless files have several names, or a directory hides
// what is below: those are looked at together.
func upperTable(ctx context.Context, root int, below Tree, o DiffOptions, temp func() (*os.File, error)) (Table, []*Entry, error) {
	w := newUpperWalk(ctx, below, o)
	w.table = NewEncoded(temp)
	if err := w.root(root); err != nil {
		return nil, nil, err
	}
	if w.together {
		for e := range w.table.Drain() {
			copied := *e
			w.entries = append(w.entries, &copied)
		}
		if err := w.table.Err(); err != nil {
			return nil, nil, err
		}
		return w.compared(root, o)
	}
	if below == nil {
		return w.table, nil, w.table.Err()
	}
	c := newUpperComparer(ctx, root, below)
	c.keepFiles = o.KeepFiles
	kept := w.table.Another()
	var unchanged []*Entry
	err := c.each(w.table.Drain(), kept.Append, func(e *Entry) {
		copied := *e
		unchanged = append(unchanged, &copied)
	})
	slices.Reverse(unchanged) // what a directory holds was found before it
	return kept, unchanged, errors.Join(err, w.table.Err())
}

// sumFiles fills in the digests that are missing, several files at a time.
func sumFiles(ctx context.Context, entries []*Entry, open OpenFunc) error {
	g, ctx := errgroup.WithContext(ctx)
	work := make(chan *Entry, 64)
	g.Go(func() error {
		defer close(work)
		for _, e := range entries {
			if e.Type != File || e.Digest != "" {
				continue
			}
			select {
			case work <- e:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range readers {
		g.Go(func() error {
			h, buf := sha256.New(), make([]byte, 128<<10)
			for e := range work {
				f, err := open(ctx, e)
				if err != nil {
					return fmt.Errorf("opening contents of %q: %w", clip(e.Path), err)
				}
				h.Reset()
				n, err := copyContext(ctx, h, f, buf)
				f.Close()
				if err != nil {
					return fmt.Errorf("reading contents of %q: %w", clip(e.Path), err)
				}
				if n != e.Size {
					return fmt.Errorf("%q changed its size from %d to %d bytes while it was read; build again when nothing writes to it", clip(e.Path), e.Size, n)
				}
				e.Digest = digest.NewDigest(digest.SHA256, h)
			}
			return nil
		})
	}
	return g.Wait()
}

// copyContext is io.CopyBuffer that stops when ctx is done.
func copyContext(ctx context.Context, w io.Writer, r io.Reader, buf []byte) (int64, error) {
	var n int64
	for {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		got, err := r.Read(buf)
		if got > 0 {
			if _, err := w.Write(buf[:got]); err != nil {
				return n, err
			}
			n += int64(got)
		}
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// upperWalk collects the entries of an upper directory.
type upperWalk struct {
	ctx     context.Context
	below   Tree
	entries []*Entry
	table   *Encoded // takes the entries in their place; nil for none
	// together says that the table has entries that are not told one by one whether they are below: see upperTable.
	together bool
	inodes   map[inode]string // path at which an inode with several links was seen first
	// everything keeps what hides nothing of below, and all attributes that belong to an image.
	everything bool
	owners     *identity.Ledger // DiffOptions.Owners
}

type inode struct{ dev, ino uint64 }

// walkUpper gives the TOC without digests, and the open root.
func walkUpper(ctx context.Context, upper string, below Tree, o DiffOptions) (t *TOC, root int, err error) {
	root, err = openRoot(upper)
	if err != nil {
		return nil, -1, fmt.Errorf("reading changes: %w", err)
	}
	defer func() {
		if err != nil {
			unix.Close(root)
			err = fmt.Errorf("reading changes in %s: %w", upper, err)
		}
	}()
	w := newUpperWalk(ctx, below, o)
	if err := w.root(root); err != nil {
		return nil, -1, err
	}
	t, _, err = w.compared(root, o)
	return t, root, err
}

func newUpperWalk(ctx context.Context, below Tree, o DiffOptions) *upperWalk {
	return &upperWalk{ctx: ctx, below: below, inodes: make(map[inode]string), owners: o.Owners}
}

// compared gives the table of the entries, and those that are the same below.
func (w *upperWalk) compared(root int, o DiffOptions) (*TOC, []*Entry, error) {
	t, err := NewTOC(w.entries)
	if err != nil || w.below == nil {
		return t, nil, err
	}
	c := newUpperComparer(w.ctx, root, w.below)
	c.keepFiles = o.KeepFiles
	kept, unchanged, err := c.part(t.Entries)
	return &TOC{Entries: kept}, unchanged, err
}

// add adds an entry.
func (w *upperWalk) add(e *Entry) error {
	if w.table == nil {
		w.entries = append(w.entries, e)
		return nil
	}
	w.together = w.together || e.Type == Hardlink || e.Opaque
	return w.table.Append(e)
}

func (w *upperWalk) root(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	xattrs, m, err := readXattrs(atPath(fd, "."))
	if err != nil {
		return err
	}
	e := statEntry("", &st)
	m.own(e)
	e.Xattrs = Built(xattrs)
	below, err := w.lookup("")
	if err != nil {
		return err
	}
	e.Opaque = m.opaque && below != nil
	if below == nil || e.Opaque || !sameDir(e, below) {
		if err := w.add(e); err != nil {
			return err
		}
	}
	return w.dir(fd, ".", "", below != nil && !e.Opaque)
}

// sameDir says whether a directory of the upper one is that of below, but for its time and its mark. Attributes that
// no layer takes along do not count.
func sameDir(e, below *Entry) bool {
	built := *below
	built.Xattrs = Built(below.Xattrs)
	return Differences(e, &built)&^(AttrTime|AttrOpaque) == 0
}

// listAt opens the directory name of the open directory at, and lists its names in order. path is what errors call it.
func listAt(at int, name, path string) (dir *os.File, names []string, err error) {
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	dir = os.NewFile(uintptr(fd), path)
	if names, err = dir.Readdirnames(-1); err != nil {
		dir.Close()
		return nil, nil, err
	}
	slices.Sort(names)
	return dir, names, nil
}

// dir walks the directory name of the open directory at. merged says that something of below shows through it.
func (w *upperWalk) dir(at int, name, path string, merged bool) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	f, names, err := listAt(at, name, path)
	if err != nil {
		return err
	}
	defer f.Close()
	fd := int(f.Fd())
	for _, name := range names {
		if err := w.entry(fd, name, join(path, name), merged); err != nil {
			return err
		}
	}
	return nil
}

func (w *upperWalk) entry(at int, name, path string, merged bool) error {
	var st unix.Stat_t
	if err := unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	e := statEntry(path, &st)
	if e == nil {
		return nil
	}
	if e.Type != Symlink && e.Type != Whiteout {
		if st.Nlink > 1 && e.Type != Dir {
			id := inode{st.Dev, st.Ino}
			if first, ok := w.inodes[id]; ok {
				return w.add(&Entry{Path: path, Type: Hardlink, Link: first})
			}
			w.inodes[id] = path
		}
		xattrs, m, err := readXattrs(atPath(at, name))
		if err != nil {
			return fmt.Errorf("%q: %w", clip(path), err)
		}
		m.own(e)
		e.Xattrs, e.Opaque = xattrs, m.opaque && e.Type == Dir
		if !w.everything {
			e.Xattrs = Built(xattrs)
		}
		if m.whiteout && e.Type == File && e.Size == 0 {
			e = &Entry{Path: path, Type: Whiteout}
		}
		if d, ok := identity.ParseDevice(m.device); ok && e.Type == File && e.Size == 0 {
			e.Type, e.Major, e.Minor = Char, d.Major, d.Minor
			if d.Block {
				e.Type = Block
			}
		}
	} else if e.Type == Symlink {
		link, err := readLink(at, name, st.Size)
		if err != nil {
			return &fs.PathError{Op: "readlink", Path: path, Err: err}
		}
		e.Link = link
		if st.Nlink > 1 {
			id := inode{st.Dev, st.Ino}
			if first, ok := w.inodes[id]; ok {
				e = &Entry{Path: path, Type: Hardlink, Link: first}
			} else {
				w.inodes[id] = path
			}
		}
	}
	if err := w.ownUnnoted(at, name, e); err != nil {
		return err
	}
	return w.keep(at, name, e, merged)
}

// ownUnnoted gives an entry of a kind that can have no note of its owner the one that the ledger has, or else that of
// the same entry below, of which it is a copy: type, mode and where a link leads say that it is.
func (w *upperWalk) ownUnnoted(at int, name string, e *Entry) error {
	if w.owners == nil || e.Type != Symlink && e.Type != Fifo {
		return nil
	}
	if o, ok := w.owners.Lookup(at, name); ok {
		e.UID, e.GID = o.UID, o.GID
		return nil
	}
	below, err := w.lookup(e.Path)
	if err == nil && below != nil && Differences(e, below)&^(AttrOwner|AttrTime) == 0 {
		e.UID, e.GID = below.UID, below.GID
	}
	return err
}

// keep adds an entry, less what hides nothing, and goes into directories.
func (w *upperWalk) keep(at int, name string, e *Entry, merged bool) error {
	if w.everything {
		if err := w.add(e); err != nil || e.Type != Dir {
			return err
		}
		return w.dir(at, name, e.Path, merged)
	}
	var below *Entry
	if merged && (e.Type == Dir || e.Type == Whiteout) {
		var err error
		if below, err = w.lookup(e.Path); err != nil {
			return err
		}
	}
	if e.Type == Whiteout {
		if below == nil {
			return nil
		}
		return w.add(e)
	}
	if e.Type != Dir {
		return w.add(e)
	}
	merged = below != nil && below.Type == Dir
	if e.Opaque && merged {
		hidden, err := w.below.ReadDir(w.ctx, e.Path)
		if err != nil {
			return fmt.Errorf("looking for %q in the layers below: %w", clip(e.Path), err)
		}
		merged = len(hidden) > 0
	}
	e.Opaque = e.Opaque && merged
	if err := w.add(e); err != nil {
		return err
	}
	return w.dir(at, name, e.Path, merged && !e.Opaque)
}

// lookup returns the entry of a path below, nil if there is none.
func (w *upperWalk) lookup(path string) (*Entry, error) {
	if w.below == nil {
		return nil, nil
	}
	e, err := w.below.Lookup(w.ctx, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for %q in the layers below: %w", clip(path), err)
	}
	return e, nil
}

// statEntry makes an entry of what stat gives, nil for a socket. A character device 0/0 is a whiteout.
func statEntry(path string, st *unix.Stat_t) *Entry {
	owner := identity.Current().OwnerOf(st)
	e := &Entry{Path: path, Mode: st.Mode & 0o7777, UID: owner.UID, GID: owner.GID, ModTime: st.Mtim.Sec}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		e.Type = Dir
	case unix.S_IFREG:
		e.Type, e.Size = File, st.Size
	case unix.S_IFLNK:
		e.Type, e.Mode = Symlink, 0o777
	case unix.S_IFIFO:
		e.Type = Fifo
	case unix.S_IFCHR, unix.S_IFBLK:
		e.Type = Char
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			e.Type = Block
		}
		e.Major, e.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
		if e.Type == Char && st.Rdev == 0 {
			return &Entry{Path: path, Type: Whiteout}
		}
	default:
		return nil
	}
	return e
}

func readLink(at int, name string, size int64) (string, error) {
	buf := make([]byte, min(size, MaxPath)+1)
	for {
		n, err := unix.Readlinkat(at, name, buf)
		if err != nil {
			return "", err
		}
		if n < len(buf) || n > MaxPath {
			return string(buf[:n]), nil
		}
		buf = make([]byte, 2*len(buf))
	}
}
