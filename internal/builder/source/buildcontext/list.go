package buildcontext

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store/disk"
	"golang.org/x/sys/unix"
)

// lister lists directories for one goroutine: it holds what must not be shared.
type lister struct {
	c       *Context
	matcher *matcher
	buf     []byte
	names   []dirent // of the directory being listed
	next    int      // the record of the stat cache that is likely the next one
	shelf   shelf    // records that the stat cache has not
	raw     []byte   // a record being made
}

// list fills in the children of a directory, once. The root is stat'ed as well.
//
// A file costs one fstatat. Its contents and extended attributes are read when a COPY wants its digest (Sum), unless
// the stat cache knows them.
func (l *lister) list(n *node) error {
	if n.listed() {
		return nil
	}
	if l.matcher == nil {
		l.matcher = l.c.rules.matcher()
		l.buf = make([]byte, 32<<10)
		l.c.cache.load()
	}
	path, dir := n.path(), n.extra()
	dir.children = nil
	fd, err := l.c.openBeneath(path, unix.O_RDONLY|unix.O_DIRECTORY)
	switch {
	case n.hidden && errors.Is(err, unix.EACCES):
		dir.listed = true // excluded, and no exception in it can be reached
		return nil
	case gone(err) && n != l.c.top:
		return &ChangedError{path}
	case err != nil:
		return fmt.Errorf("read directory %q of the build context: %w", "/"+path, hint(err))
	}
	defer unix.Close(fd)
	now := l.c.now()
	if n == l.c.top {
		if err := l.stat(n, fd, dirent{"", unix.DT_DIR}, now); err != nil {
			return err
		}
	}
	if err := l.readNames(path, fd); err != nil {
		return fmt.Errorf("read directory %q of the build context: %w", "/"+path, err)
	}
	dir.children = make([]node, 0, len(l.names))
	for _, d := range l.names {
		if err := l.add(n, fd, d, now); err != nil {
			return fmt.Errorf("read %q of the build context: %w", "/"+d.path, err)
		}
	}
	dir.listed = true
	return nil
}

// gone tells whether something that was there has been removed or replaced by something of another type.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR)
}

// hint adds to an error what a person can do about a file that may not be read.
func hint(err error) error { return hintOf(err, "make it readable or name it in .dockerignore") }

func hintOf(err error, advice string) error {
	if errors.Is(err, unix.EACCES) {
		return disk.Advised(err, advice)
	}
	return err
}

// leadsOut says of a link in a context what os.Root, which has no error value for that, calls an escape.
func leadsOut(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) && path.Err.Error() == "path escapes from parent" {
		return disk.Advised(errors.New("it is a link that leads out of the build context"), "put the file itself there")
	}
	return err
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

// add adds a child of a directory, unless .dockerignore or its type excludes it.
func (l *lister) add(n *node, fd int, d dirent, now time.Time) error {
	dir := n.more
	excluded, info, err := l.matcher.match(d.path, dir.match)
	if err != nil {
		return err
	}
	if excluded && (d.kind != unix.DT_DIR && d.kind != unix.DT_UNKNOWN || !l.matcher.exceptionBelow(d.path)) {
		return nil
	}
	dir.children = append(dir.children, node{hidden: excluded})
	child := &dir.children[len(dir.children)-1]
	err = l.stat(child, fd, d, now)
	isDir := child.kind() == layer.Dir
	dropped := excluded && !isDir || errors.Is(err, unix.ENOENT) || errors.Is(err, errSkip)
	if dropped || err != nil { // what is left among the children has a record
		*child = node{}
		dir.children = dir.children[:len(dir.children)-1]
	}
	if dropped {
		return nil
	}
	if isDir && err == nil {
		child.extra().match = info
	}
	return err
}

// errSkip marks what a context does not show.
var errSkip = errors.New("not part of a context")

// stat fills in a node from a file in directory fd. Symlinks are not followed: neither fstatat nor
// readlinkat does, and xattrs of a directory are read through a descriptor opened with O_NOFOLLOW.
func (l *lister) stat(n *node, fd int, d dirent, now time.Time) error {
	name := d.path[strings.LastIndexByte(d.path, '/')+1:]
	if d.path == "" {
		name = "."
	}
	var st unix.Stat_t
	if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if len(d.path) > maxField {
		return unix.ENAMETOOLONG
	}
	c := contents{stat: statOf(&st)}
	n.settled = c.stat.settledAt(now)
	n.note(&st, &c.stat)
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR, unix.S_IFREG:
		if r := l.c.cache.lookup(d.path, &l.next); r != "" && r.stat() == c.stat {
			n.file = r
			return nil
		}
		if n.settled {
			l.c.cache.changed.Store(true)
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			c.xattrs, err = readXattrs(fd, name)
		}
	case unix.S_IFLNK:
		n.extra().link, err = readlink(fd, name)
	case unix.S_IFIFO:
	case unix.S_IFCHR, unix.S_IFBLK:
		if st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 {
			return errSkip
		}
		n.extra().rdev = uint64(st.Rdev)
	case unix.S_IFSOCK:
		empty := sha256.Sum256(nil)
		c.sum = string(empty[:])
	default:
		return errSkip
	}
	n.settled = n.settled && err == nil // attributes that could not be read are not to be kept as none
	l.raw = appendRecord(l.raw[:0], d.path, &c)
	n.file = l.shelf.keep(l.raw)
	return err
}

// note keeps what a stat says that no record has.
func (n *node) note(st *unix.Stat_t, kept *stat) {
	if kind := st.Mode & unix.S_IFMT; st.Nlink > 1 && (kind == unix.S_IFREG || kind == unix.S_IFSOCK) {
		n.extra().inode = &inode{uint64(st.Dev), st.Ino}
	} else if n.more != nil {
		n.more.inode = nil
	}
	if sec := int64(st.Mtim.Sec); sec != seconds(kept.mtime) {
		n.extra().modTime = &sec
	} else if n.more != nil {
		n.more.modTime = nil
	}
}

// walk lists path and everything below it with all processors.
func (c *Context) walk(ctx context.Context, path string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.find(path)
	if err != nil || n.kind() != layer.Dir {
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
		children := n.children()
		for i := range children {
			if children[i].kind() == layer.Dir {
				w.todo = append(w.todo, &children[i])
			}
		}
		if len(w.todo) > 0 || w.busy == 0 || w.err != nil {
			w.idle.Broadcast()
		}
	}
}
