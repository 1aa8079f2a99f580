package tracefs

import (
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/identity"
	"github.com/strata-build/strata/internal/layer/observed"
)

// xattrsOf are the attributes of a node, with overlayfs's mark of an opaque directory.
func (fs *fileSystem) xattrsOf(id uint64) []layer.Xattr {
	l, n := fs.node(id)
	if l == nil {
		return nil
	}
	l.Recorder.Ask(n, observed.LookedUp)
	e := l.Recorder.View().Entry(n)
	if e.Opaque {
		return append([]layer.Xattr{{Name: identity.OpaqueMark, Value: "y"}}, e.Xattrs...)
	}
	return e.Xattrs
}

// GetXAttr gives the value of an attribute.
func (fs *fileSystem) GetXAttr(_ <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
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
