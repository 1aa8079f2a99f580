package buildcontext

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/strata-build/strata/internal/layer"
	"golang.org/x/sys/unix"
)

// lister lists directories for one goroutine: it holds what must not be shared.
type lister struct {
	c       *Context
	matcher *matcher
	buf     []byte
	names   []dirent // of the directory being listed
	next    int      // the record of the stat cache that is likely the next one
}

// list fills in the children of a directory, once. The root is stat'ed as well.
//
// A file costs one fstatat and, if the stat cache does not know it, an open and an flistxattr.
func (l *lister) list(n *node) error {
	if n.listed {
		return nil
	}
	if l.matcher == nil {
		l.matcher = l.c.rules.matcher()
		l.buf = make([]byte, 32<<10)
		l.c.cache.load()
	}
	path := n.entry.Path
	n.children = nil
	fd, err := l.c.openBeneath(path, unix.O_RDONLY|unix.O_DIRECTORY)
	switch {
	case n.hidden && errors.Is(err, unix.EACCES):
		n.listed = true // excluded, and no exception in it can be reached
		return nil
	case gone(err) && n != l.c.top:
		return &ChangedError{path}
	case err != nil:
		return fmt.Errorf("read directory %q of the build context: %w%s", "/"+path, err, hint(err))
	}
	defer unix.Close(fd)
	now := l.c.now()
	if n == l.c.top {
		if err := l.stat(n, fd, ".", now); err != nil {
			return err
		}
	}
	if err := l.readNames(path, fd); err != nil {
		return fmt.Errorf("read directory %q of the build context: %w", "/"+path, err)
	}
	n.children = make([]node, 0, len(l.names))
	for _, d := range l.names {
		if err := l.add(n, fd, d, now); err != nil {
			return fmt.Errorf("read %q of the build context: %w", "/"+d.path, err)
		}
	}
	n.listed = true
	return nil
}

// gone tells whether something that was there has been removed or replaced by something of another type.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR)
}

func hint(err error) string {
	if errors.Is(err, unix.EACCES) {
		return "; make it readable or name it in .dockerignore"
	}
	return ""
}

// dirent is what getdents64 says of a name: its path in the context and its DT_ type.
type dirent struct {
	path string
	kind byte
}

// readNames reads the directory fd with getdents64 into l.names, sorted.
func (l *lister) readNames(dir string, fd int) error {
	if dir != "" {
		dir += "/"
	}
	l.names = l.names[:0]
	for {
		n, err := unix.Getdents(fd, l.buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			slices.SortFunc(l.names, func(a, b dirent) int { return strings.Compare(a.path, b.path) })
			return nil
		}
		for b := l.buf[:n]; len(b) >= 19; {
			// struct linux_dirent64: ino 8, off 8, reclen 2, type 1, name with a NUL.
			size, kind := binary.NativeEndian.Uint16(b[16:]), b[18]
			name := b[19:size]
			name = name[:bytes.IndexByte(name, 0)]
			b = b[size:]
			if s := string(name); s != "." && s != ".." {
				l.names = append(l.names, dirent{dir + s, kind})
			}
		}
	}
}

// add adds a child of dir, unless .dockerignore or its type excludes it.
func (l *lister) add(dir *node, fd int, d dirent, now time.Time) error {
	excluded, info, err := l.matcher.match(d.path, dir.match)
	if err != nil {
		return err
	}
	if excluded && (d.kind != unix.DT_DIR && d.kind != unix.DT_UNKNOWN || !l.matcher.exceptionBelow(d.path)) {
		return nil
	}
	dir.children = append(dir.children, node{entry: layer.Entry{Path: d.path}, hidden: excluded})
	child := &dir.children[len(dir.children)-1]
	err = l.stat(child, fd, child.name(), now)
	if excluded && child.entry.Type != layer.Dir || errors.Is(err, unix.ENOENT) || errors.Is(err, errSkip) {
		dir.children = dir.children[:len(dir.children)-1]
		return nil
	}
	if child.entry.Type == layer.Dir {
		child.match = info
	}
	return err
}

// errSkip marks what a context does not show.
var errSkip = errors.New("not part of a context")

// stat fills in a node from the file name in directory fd. Symlinks are not followed: neither fstatat nor
// readlinkat does, and xattrs are read through a descriptor opened with O_NOFOLLOW.
func (l *lister) stat(n *node, fd int, name string, now time.Time) error {
	var st unix.Stat_t
	if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	e := &n.entry
	n.fill(&st, now)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		e.Type = layer.Dir
	case unix.S_IFREG:
		e.Type = layer.File
	case unix.S_IFLNK:
		e.Type = layer.Symlink
		var err error
		e.Link, err = readlink(fd, name)
		return err
	case unix.S_IFIFO:
		e.Type = layer.Fifo
		return nil
	case unix.S_IFCHR, unix.S_IFBLK:
		e.Type = layer.Block
		if st.Mode&unix.S_IFMT == unix.S_IFCHR {
			e.Type = layer.Char
		}
		e.Major, e.Minor = unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))
		if e.Type == layer.Char && e.Major == 0 && e.Minor == 0 {
			return errSkip
		}
		return nil
	case unix.S_IFSOCK:
		e.Type, n.sum, n.hashed = layer.File, sha256.Sum256(nil), true
		return nil
	default:
		return errSkip
	}
	if path, r, ok := l.c.cache.lookup(e.Path, &l.next); ok && r.stat == n.stat {
		e.Path, e.Xattrs, n.sum, n.hashed = path, r.xattrs, r.sum, r.hashed // a path that is in memory anyway
		return nil
	}
	if n.settled {
		l.c.cache.changed.Store(true)
	}
	var err error
	e.Xattrs, err = readXattrs(fd, name)
	return err
}

// fill sets what a stat says about a file.
func (n *node) fill(st *unix.Stat_t, now time.Time) {
	n.stat, n.dev, n.links = statOf(st), uint64(st.Dev), uint64(st.Nlink)
	n.settled = n.stat.settledAt(now)
	n.entry.Mode = st.Mode & 0o7777
	n.entry.ModTime = st.Mtim.Sec
	n.entry.Size = 0
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		n.entry.Size = st.Size
	}
}

// walk lists path and everything below it with all processors.
func (c *Context) walk(ctx context.Context, path string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.find(path)
	if err != nil || n.entry.Type != layer.Dir {
		return err
	}
	w := &walk{ctx: ctx, todo: []*node{n}}
	w.idle.L = &w.mu
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() { w.run(&lister{c: c}) })
	}
	wg.Wait()
	return w.err
}

// walk is the work that the goroutines of one Context.walk share.
type walk struct {
	ctx  context.Context
	mu   sync.Mutex
	idle sync.Cond
	todo []*node
	busy int
	err  error
}

func (w *walk) run(l *lister) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		for len(w.todo) == 0 && w.busy > 0 && w.err == nil {
			w.idle.Wait()
		}
		if len(w.todo) == 0 || w.err != nil {
			w.idle.Broadcast()
			return
		}
		n := w.todo[len(w.todo)-1]
		w.todo = w.todo[:len(w.todo)-1]
		w.busy++
		w.mu.Unlock()
		err := w.ctx.Err()
		if err == nil {
			err = l.list(n)
		}
		w.mu.Lock()
		w.busy--
		if err != nil && w.err == nil {
			w.err = err
		}
		for i := range n.children {
			if n.children[i].entry.Type == layer.Dir {
				w.todo = append(w.todo, &n.children[i])
			}
		}
		if len(w.todo) > 0 || w.busy == 0 || w.err != nil {
			w.idle.Broadcast()
		}
	}
}
