package erofs

import (
	"encoding/binary"
	"strings"

	"github.com/strata-build/strata/internal/layer"
)

// xattrHead is the size of what comes before the attributes of an inode (struct erofs_xattr_ibody_header).
const xattrHead = 12

// xattr is an extended attribute with the number of its name's prefix (fs/erofs/erofs_fs.h, EROFS_XATTR_INDEX_*).
type xattr struct {
	prefix      byte // 0 for a name that has none
	name, value string
}

var prefixes = []struct {
	name   string
	number byte
}{{"user.", 1}, {"trusted.", 4}, {"security.", 6}}

// xattrsOf are the attributes of an entry, with overlayfs's mark of an opaque directory.
func xattrsOf(e *layer.Entry) []xattr {
	if len(e.Xattrs) == 0 && !e.Opaque {
		return nil
	}
	all := make([]xattr, 0, len(e.Xattrs)+1)
	if e.Opaque {
		all = append(all, xattr{4, "overlay.opaque", "y"})
	}
	for _, a := range e.Xattrs {
		x := xattr{0, a.Name, a.Value}
		for _, p := range prefixes {
			if rest, ok := strings.CutPrefix(a.Name, p.name); ok {
				x.prefix, x.name = p.number, rest
			}
		}
		all = append(all, x)
	}
	return all
}

// size is what an attribute takes (struct erofs_xattr_entry).
func (a xattr) size() int { return int(align(int64(4+len(a.name)+len(a.value)), 4)) }

// xattrSize is what the attributes of an entry take behind its inode.
func xattrSize(e *layer.Entry) int {
	all := xattrsOf(e)
	if len(all) == 0 {
		return 0
	}
	size := xattrHead
	for _, a := range all {
		size += a.size()
	}
	return size
}

// xattrCount is the size of the attributes as the inode has it.
func xattrCount(e *layer.Entry) int {
	size := xattrSize(e)
	if size == 0 {
		return 0
	}
	return (size-xattrHead)/4 + 1
}

func appendXattrs(b []byte, e *layer.Entry) []byte {
	all := xattrsOf(e)
	if len(all) == 0 {
		return b
	}
	b = append(b, make([]byte, xattrHead)...)
	for _, a := range all {
		end := len(b) + a.size()
		b = append(b, byte(len(a.name)), a.prefix)
		b = binary.LittleEndian.AppendUint16(b, uint16(len(a.value)))
		b = append(append(b, a.name...), a.value...)
		b = append(b, make([]byte, end-len(b))...)
	}
	return b
}
