package tracefs

import (
	"errors"
	"fmt"
	"sort"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/identity"
	"github.com/strata-build/strata/internal/layer/observed"
)

// valid is how long the kernel keeps what it is told.
const valid = time.Hour

// fileSystem answers the kernel. Node 1 is a directory with one for each layer; the others are the nodes of the layers'
// views, one layer after the other.
type fileSystem struct {
	fuse.RawFileSystem // ENOSYS for all else
	layers             []servedLayer
	first              []uint64 // by layer, the number of its root
	xattrs             bool     // something in the layers has some
	ahead              *ahead
	wants              *wants
	failed             atomic.Pointer[error] // the first that a process was given
}

func newFileSystem(layers []servedLayer) *fileSystem {
	fs := &fileSystem{RawFileSystem: fuse.NewDefaultRawFileSystem(), layers: layers, xattrs: withXattrs(layers), ahead: newAhead()}
	next := uint64(2)
	for _, l := range layers {
		fs.first = append(fs.first, next)
		next += uint64(l.recorder.View().Len())
	}
	return fs
}

// String is what the file system is called.
func (fs *fileSystem) String() string { return "strata" }

// node is the layer and the node that a number means; no layer is the directory of all.
func (fs *fileSystem) node(id uint64) (l *servedLayer, n int) {
	i := sort.Search(len(fs.first), func(i int) bool { return fs.first[i] > id }) - 1
	if i < 0 {
		return nil, 0
	}
	if l, n = &fs.layers[i], int(id-fs.first[i]); n >= l.recorder.View().Len() {
		return nil, 0
	}
	return l, n
}

func (fs *fileSystem) id(l *servedLayer, n int) uint64 {
	return fs.first[l.place] + uint64(n)
}

// Lookup finds a name in a directory. One that is not there is an answer too, which the kernel keeps.
func (fs *fileSystem) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	out.SetEntryTimeout(valid)
	l, dir := fs.node(h.NodeId)
	if l == nil {
		i, err := strconv.Atoi(name)
		if err != nil || i < 0 || i >= len(fs.layers) {
			return fuse.OK
		}
		fs.fill(&fs.layers[i], 0, out)
		return fuse.OK
	}
	n, ok := l.recorder.View().Child(dir, name)
	if !ok {
		l.recorder.Miss(dir, name)
		return fuse.OK
	}
	before := l.recorder.Ask(n, observed.LookedUp)
	fs.ahead.lookedUp(l, n, before)
	if before == 0 && l.recorder.Asked(dir)&observed.Listed != 0 {
		fs.ahead.names.take()
		fs.ahead.walk(h.NodeId, directory{l, dir})
	}
	fs.fill(l, n, out)
	return fuse.OK
}

func (fs *fileSystem) fill(l *servedLayer, n int, out *fuse.EntryOut) {
	out.NodeId, out.Generation = fs.id(l, l.recorder.View().Inode(n)), 1
	out.SetAttrTimeout(valid)
	fs.attr(l, n, &out.Attr)
}

// Sizes that a directory has, whatever is in it.
const (
	dirSize   = 4096
	blockSize = 4096
)

// entry is what a node shows of itself. A directory that the layer only implies shows what it is below.
func (l *servedLayer) entry(n int) *layer.Entry {
	v := l.recorder.View()
	if v.Implied(n) && n != 0 {
		if below := l.below[v.Path(n)]; below != nil {
			return below
		}
	}
	return v.Entry(n)
}

// attr are the attributes of a node. The numbers of links of a directory, and its size, are the same whatever is in it.
func (fs *fileSystem) attr(l *servedLayer, n int, out *fuse.Attr) {
	v := l.recorder.View()
	e := l.entry(n)
	out.Ino = fs.id(l, v.Inode(n))
	out.Mode = typeOf(e.Type) | e.Mode
	out.Nlink = uint32(v.Links(n))
	owner, err := identity.Current().OnDisk(identity.Owner{UID: e.UID, GID: e.GID})
	if err != nil {
		owner = identity.Owner{UID: e.UID, GID: e.GID}
	}
	out.Uid, out.Gid = uint32(owner.UID), uint32(owner.GID)
	out.Blksize = blockSize
	switch e.Type {
	case layer.File:
		out.Size = uint64(e.Size)
	case layer.Symlink:
		out.Size, out.Mode = uint64(len(e.Link)), unix.S_IFLNK|0o777
	case layer.Dir:
		out.Size = dirSize
	case layer.Char, layer.Block:
		out.Rdev = uint32(unix.Mkdev(e.Major, e.Minor))
	case layer.Whiteout:
		out.Mode = unix.S_IFCHR
	}
	if e.Type != layer.Symlink {
		out.Blocks = (out.Size + blockSize - 1) / blockSize * (blockSize / 512)
	}
	if e.ModTime > 0 {
		out.Mtime = uint64(e.ModTime)
	}
	if fine, ok := l.files.modTime(e); ok {
		out.Mtimensec = uint32(fine.Nsec)
	}
	out.Atime, out.Ctime, out.Atimensec, out.Ctimensec = out.Mtime, out.Mtime, out.Mtimensec, out.Mtimensec
}

func typeOf(t layer.Type) uint32 {
	switch t {
	case layer.Dir:
		return unix.S_IFDIR
	case layer.Symlink:
		return unix.S_IFLNK
	case layer.Char, layer.Whiteout:
		return unix.S_IFCHR
	case layer.Block:
		return unix.S_IFBLK
	case layer.Fifo:
		return unix.S_IFIFO
	}
	return unix.S_IFREG
}

// GetAttr gives the attributes of a node.
func (fs *fileSystem) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	out.SetTimeout(valid)
	l, n := fs.node(in.NodeId)
	if l == nil {
		out.Attr = fuse.Attr{Ino: in.NodeId, Mode: unix.S_IFDIR | 0o755, Nlink: 1, Size: dirSize}
		return fuse.OK
	}
	l.recorder.Ask(n, observed.LookedUp)
	fs.attr(l, n, &out.Attr)
	return fuse.OK
}

// Open says that files need not be opened.
func (fs *fileSystem) Open(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status {
	return fuse.ENOSYS
}

// Flush says that there is nothing to be done when a file is closed.
func (fs *fileSystem) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status {
	return fuse.ENOSYS
}

// OpenDir says the same of directories.
func (fs *fileSystem) OpenDir(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status {
	return fuse.ENOSYS
}

// Read reads a part of a file, which counts as reading all of it.
func (fs *fileSystem) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	l, n := fs.node(in.NodeId)
	if l == nil {
		return nil, fuse.EIO
	}
	e := l.recorder.View().Entry(n)
	if e.Type != layer.File {
		return nil, fuse.EINVAL
	}
	if l.recorder.Ask(n, observed.Read)&observed.Read == 0 {
		fs.ahead.files.take()
	}
	dir := l.recorder.View().Parent(n)
	fs.ahead.read(fs.id(l, dir), directory{l, dir})
	buf = buf[:min(len(buf), int(in.Size))]
	err := fs.bring(cancel, l, e, int64(in.Offset), int64(len(buf)))
	if errors.Is(err, unix.EINTR) {
		return nil, fuse.EINTR
	}
	got := 0
	if err == nil {
		got, err = l.files.readAt(e, buf, int64(in.Offset))
	}
	if err != nil {
		err = fmt.Errorf("reading /%s: %w", e.Path, err)
		fs.failed.CompareAndSwap(nil, &err)
		return nil, errno(err)
	}
	return fuse.ReadResultData(buf[:got]), fuse.OK
}

// bring waits until what is to be read of a file is here.
func (fs *fileSystem) bring(cancel <-chan struct{}, l *servedLayer, e *layer.Entry, offset, size int64) error {
	if size = min(size, e.Size-offset); !l.lazy || size <= 0 {
		return nil
	}
	return fs.wants.need(cancel, l.place, e.Offset+offset, size)
}

// Readlink gives the target of a symbolic link.
func (fs *fileSystem) Readlink(_ <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	l, n := fs.node(h.NodeId)
	if l == nil {
		return nil, fuse.EINVAL
	}
	e := l.recorder.View().Entry(n)
	if e.Type != layer.Symlink {
		return nil, fuse.EINVAL
	}
	l.recorder.Ask(n, observed.Followed)
	return []byte(e.Link), fuse.OK
}

// StatFs says that there is nothing to be had.
func (fs *fileSystem) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	*out = fuse.StatfsOut{Bsize: blockSize, Frsize: blockSize, NameLen: layer.MaxName}
	return fuse.OK
}

// errno is the number of an error; EIO where it has none.
func errno(err error) fuse.Status {
	var n syscall.Errno
	if errors.As(err, &n) {
		return fuse.Status(n)
	}
	return fuse.EIO
}
