package layer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
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
	t, _, root, err := walkUpper(ctx, upper, below, DiffOptions{})
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
	t, unchanged, root, err := walkUpper(ctx, upper, below, o)
	if err != nil {
		return nil, err
	}
	defer unix.Close(root)
	open := func(_ context.Context, e *Entry) (io.ReadCloser, error) { return openFileBeneath(root, e.Path) }
	began := make(chan struct{})
	go func() {
		beginWriting(ctx, t, root)
		close(began)
	}()
	made, err := HashTar(ctx, t, open)
	<-began // it uses root
	if err != nil {
		return nil, fmt.Errorf("reading changes in %s: %w", upper, err)
	}
	if err := removeUnchanged(root, unchanged); err != nil {
		return nil, fmt.Errorf("removing what was not changed from %s: %w", upper, err)
	}
	return made, nil
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
	inodes  map[inode]string // path at which an inode with several links was seen first
	// everything keeps what hides nothing of below, and all attributes that belong to an image.
	everything bool
	owners     *identity.Ledger // DiffOptions.Owners
}

type inode struct{ dev, ino uint64 }

// walkUpper gives the TOC without digests, what of upper is the same below, and the open root.
func walkUpper(ctx context.Context, upper string, below Tree, o DiffOptions) (t *TOC, unchanged []*Entry, root int, err error) {
	root, err = openRoot(upper)
	if err != nil {
		return nil, nil, -1, fmt.Errorf("reading changes: %w", err)
	}
	defer func() {
		if err != nil {
			unix.Close(root)
			err = fmt.Errorf("reading changes in %s: %w", upper, err)
		}
	}()
	w := &upperWalk{ctx: ctx, below: below, inodes: make(map[inode]string), owners: o.Owners}
	if err := w.root(root); err != nil {
		return nil, nil, -1, err
	}
	if t, err = NewTOC(w.entries); err != nil || below == nil {
		return t, nil, root, err
	}
	c := newUpperComparer(ctx, root, below)
	c.keepFiles = o.KeepFiles
	if t.Entries, unchanged, err = c.part(t.Entries); err != nil {
		return nil, nil, -1, err
	}
	return t, unchanged, root, nil
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
		w.entries = append(w.entries, e)
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
				w.entries = append(w.entries, &Entry{Path: path, Type: Hardlink, Link: first})
				return nil
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
		w.entries = append(w.entries, e)
		if e.Type != Dir {
			return nil
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
		if below != nil {
			w.entries = append(w.entries, e)
		}
		return nil
	}
	if e.Type != Dir {
		w.entries = append(w.entries, e)
		return nil
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
	w.entries = append(w.entries, e)
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
