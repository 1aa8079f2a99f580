package buildcontext

import (
	"slices"
	"strings"

	"github.com/strata-build/strata/internal/layer"
	"golang.org/x/sys/unix"
)

// node is a path of the context directory. There may be millions: of a file it holds where its record is, in 32
// bytes, and the record of a file that the stat cache knows is in the cache's memory already.
type node struct {
	file record
	more *more // nil for a file of which nothing else is to be known
	// settled says that any later change would show in the record's stat: see stat.settledAt.
	settled bool
	hidden  bool // excluded by .dockerignore, entered for the sake of exceptions
}

// more is what only some nodes have.
type more struct {
	listed   bool
	match    matchInfo
	children []node // of a directory, sorted by name
	link     string // target of a symlink
	rdev     uint64 // of a device
	inode    *inode // of a file with several names
	modTime  *int64 // in seconds, where the record has not the time in nanoseconds
}

// path is relative to the context; "" for the context itself.
func (n *node) path() string { return n.file.path() }

func (n *node) name() string {
	path := n.path()
	return path[strings.LastIndexByte(path, '/')+1:]
}

// kind is the type of the entry that a COPY makes of a node; 0 for what it makes none of.
func (n *node) kind() layer.Type {
	switch n.file.mode() & unix.S_IFMT {
	case unix.S_IFDIR:
		return layer.Dir
	case unix.S_IFREG, unix.S_IFSOCK:
		return layer.File
	case unix.S_IFLNK:
		return layer.Symlink
	case unix.S_IFIFO:
		return layer.Fifo
	case unix.S_IFCHR:
		return layer.Char
	case unix.S_IFBLK:
		return layer.Block
	}
	return 0
}

// entry is what a COPY sees of a node, with the digest of a file that was hashed.
func (n *node) entry() layer.Entry {
	st := n.file.stat()
	e := layer.Entry{Path: n.path(), Type: n.kind(), Mode: st.mode & 0o7777, ModTime: seconds(st.mtime), Xattrs: n.file.xattrs()}
	if st.mode&unix.S_IFMT == unix.S_IFREG {
		e.Size = st.size
	}
	if sum := n.file.sum(); sum != "" {
		e.Digest = digestOf(sum)
	}
	if m := n.more; m != nil {
		e.Link = m.link
		if e.Type == layer.Char || e.Type == layer.Block {
			e.Major, e.Minor = unix.Major(m.rdev), unix.Minor(m.rdev)
		}
		if m.modTime != nil {
			e.ModTime = *m.modTime
		}
	}
	return e
}

// seconds are those of a time in nanoseconds, as stat(2) gives them: rounded down.
func seconds(nano int64) int64 {
	s := nano / 1e9
	if nano%1e9 < 0 {
		s--
	}
	return s
}

// extra is what the node has beside its record.
func (n *node) extra() *more {
	if n.more == nil {
		n.more = &more{}
	}
	return n.more
}

func (n *node) children() []node {
	if n.more == nil {
		return nil
	}
	return n.more.children
}

func (n *node) listed() bool { return n.more != nil && n.more.listed }

func (n *node) child(name string) *node {
	children := n.children()
	i, ok := slices.BinarySearchFunc(children, name, func(c node, name string) int {
		return strings.Compare(c.name(), name)
	})
	if !ok {
		return nil
	}
	return &children[i]
}

// childAt returns the child with a path, looking at index i first.
func (n *node) childAt(i int, path string) *node {
	children := n.children()
	if i < len(children) && children[i].path() == path {
		return &children[i]
	}
	return n.child(path[len(path)-nameLen(path):])
}

func nameLen(path string) int {
	if dir := len(layer.Parent(path)); dir > 0 {
		return len(path) - dir - 1
	}
	return len(path)
}
