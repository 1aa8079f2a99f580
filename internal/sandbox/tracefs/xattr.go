package tracefs

import (
	"slices"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/identity"
	"github.com/strata-build/strata/internal/layer/observed"
)

// xattrsOf are the attributes of a node, with its marks.
func (fs *fileSystem) xattrsOf(id uint64) []layer.Xattr {
	l, n := fs.node(id)
	if l == nil {
		return nil
	}
	l.recorder.Ask(n, observed.LookedUp)
	marks, e := l.marks(n), l.recorder.View().Entry(n)
	if len(marks) == 0 {
		return e.Xattrs
	}
	return append(marks, e.Xattrs...)
}

// marks are the attributes that a node has on the disk only: overlayfs's mark of an opaque directory, and a note of the
// owner.
func (l *servedLayer) marks(n int) []layer.Xattr {
	var marks []layer.Xattr
	if l.recorder.View().Entry(n).Opaque {
		marks = append(marks, layer.Xattr{Name: identity.Current().OpaqueMark(), Value: "y"})
	}
	e := l.entry(n)
	note, ok := identity.Current().NoteOf(identity.Owner{UID: e.UID, GID: e.GID})
	if ok && (e.Type == layer.File || e.Type == layer.Dir) {
		marks = append(marks, layer.Xattr{Name: identity.OwnerXattr, Value: note})
	}
	return marks
}

// withXattrs says whether anything in the layers has an extended attribute, or a mark of overlayfs's.
func withXattrs(layers []servedLayer) bool {
	return slices.ContainsFunc(layers, func(l servedLayer) bool {
		v := l.recorder.View()
		for n := range v.Len() {
			if len(v.Entry(n).Xattrs) > 0 || len(l.marks(n)) > 0 {
				return true
			}
		}
		return false
	})
}

// GetXAttr gives the value of an attribute. Where nothing has any, it says once that there are none to be had:
// overlayfs asks for one of each file that is looked up (ovl_check_metacopy_xattr), as often as names are. What
// processes are told is then EOPNOTSUPP, as on a file system without attributes, and not ENODATA.
func (fs *fileSystem) GetXAttr(_ <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	if !fs.xattrs {
		return 0, fuse.ENOSYS
	}
	for _, x := range fs.xattrsOf(h.NodeId) {
		if x.Name == name {
			return reply([]byte(x.Value), dest)
		}
	}
	return 0, fuse.ENOATTR
}

// ListXAttr lists the names of attributes.
func (fs *fileSystem) ListXAttr(_ <-chan struct{}, h *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	var names []byte
	for _, x := range fs.xattrsOf(h.NodeId) {
		names = append(append(names, x.Name...), 0)
	}
	return reply(names, dest)
}

// reply copies a value to where it is wanted; without room, only its length is.
func reply(value, dest []byte) (uint32, fuse.Status) {
	if len(dest) > 0 && len(dest) < len(value) {
		return uint32(len(value)), fuse.ERANGE
	}
	copy(dest, value)
	return uint32(len(value)), fuse.OK
}
